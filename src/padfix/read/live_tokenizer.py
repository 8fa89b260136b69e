"""Facts from a live tokenizer, written in Python or with a Rust backend. Reading changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from padfix.read.tables import part_json, parts
from padfix.types import BackendPadding, PadState, Token


def is_fast(tokenizer: Any) -> bool:
    """True for a tokenizer with a Rust backend."""
    return bool(getattr(tokenizer, "is_fast", False)) and hasattr(tokenizer, "backend_tokenizer")


def tokens_of(tokenizer: Any, earlier: Mapping[str, int] | None = None) -> dict[str, int]:
    """Every token string and its id: through a Rust backend 0.1 to 0.3 s for 128256 tokens.

    ``earlier`` is the answer from before tokens were added. Nothing else changes in a Rust backend, so only the
    added ones are read then, unless the number of tokens says that more has happened.
    """
    if earlier is not None and is_fast(tokenizer):
        added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
        now = {**earlier, **{str(token.content): int(i) for i, token in added.items()}}
        if len(now) == count_tokens(tokenizer):
            return now
    vocab: dict[Any, int] = tokenizer.get_vocab()
    if None in vocab:  # MLuke without its model file
        vocab = {text: i for text, i in vocab.items() if text is not None}
    return vocab


def count_tokens(tokenizer: Any) -> int:
    """``len(tokenizer)``, for which tokenizers 0.22 builds the whole vocabulary anew (0.1 s for 128256 tokens)."""
    if not is_fast(tokenizer):
        return len(tokenizer)
    backend = tokenizer.backend_tokenizer
    if (
        type(backend.model).__name__ == "Unigram"
    ):  # 0.22 counts a piece once that is there twice, its model does not
        return len(tokenizer)
    in_model, added = backend.model.token_to_id, backend.get_added_tokens_decoder().values()
    return int(backend.get_vocab_size(with_added_tokens=False)) + sum(
        in_model(t.content) is None for t in added
    )


def tokenizer_facts(tokenizer: Any, vocab: Mapping[str, int]) -> PadState:
    """The half of a state that the tokenizer alone decides; its candidates need the model too."""
    top = max(vocab.values(), default=-1)
    fast = is_fast(tokenizer)
    holes = top + 1 - len(set(vocab.values()))
    side = getattr(tokenizer, "padding_side", "right")
    return PadState(
        source=str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__),
        live=True,
        tokenizer_class=type(tokenizer).__name__,
        pad=_special(tokenizer, "pad_token", vocab),
        eos=_special(tokenizer, "eos_token", vocab),
        unk=_special(tokenizer, "unk_token", vocab),
        bos=_special(tokenizer, "bos_token", vocab),
        specials=tuple(_other_specials(tokenizer, vocab)),
        n_tokens=count_tokens(tokenizer),
        max_id=top if vocab else None,
        holes=holes,
        next_id=_next_id(tokenizer, vocab, top, holes, fast),
        padding_side="left" if side == "left" else "right",
        pad_settable=_settable(tokenizer),
        serializable=_serializable(tokenizer, fast),
        chat_template=bool(getattr(tokenizer, "chat_template", None)),
        backend_padding=_backend_padding(tokenizer) if fast else None,
    )


def special_text(tokenizer: Any, name: str) -> str | None:
    """The string of a named special token, or None; never a warning, whatever the class does.

    transformers 4.57 logs an error when an unset token is read through the attribute, so the maps are
    asked first; ChatGLM-like classes answer only through a property of their own.
    """
    own = getattr(type(tokenizer), name, None)
    if isinstance(own, property):
        try:
            value = getattr(tokenizer, name)
        except AttributeError:
            value = None
    else:
        value = (getattr(tokenizer, "special_tokens_map", None) or {}).get(name)
    return None if value is None else str(value)


def _special(tokenizer: Any, name: str, vocab: Mapping[str, int]) -> Token | None:
    text = special_text(tokenizer, name)
    if text is None:
        return None
    if text in vocab:
        return Token(text, vocab[text])
    # convert_tokens_to_ids would answer with the unk id (the pad silently becomes unk)
    return Token(text, None)


def _other_specials(tokenizer: Any, vocab: Mapping[str, int]) -> Iterator[tuple[str, Token]]:
    known = {"pad_token", "eos_token", "unk_token", "bos_token"}
    for name, value in sorted((getattr(tokenizer, "special_tokens_map", None) or {}).items()):
        if name in known:
            continue
        if isinstance(value, (list, tuple)):
            for text in map(str, value):
                yield "additional", Token(text, vocab.get(text))
        else:
            yield name.removesuffix("_token"), Token(str(value), vocab.get(str(value)))


def _next_id(tokenizer: Any, vocab: Mapping[str, int], top: int, holes: int, fast: bool) -> int | None:
    """The id that a new token has after save and reload.

    Without holes it is ``max_id + 1``. With holes the in-memory id (``max_id + 1``, 100277 for cl100k) is
    not the one a reload gives (100261), so a copy of the backend goes through its JSON form.
    """
    if holes == 0:
        return top + 1
    if not fast:
        return len(vocab) if len(vocab) > top else None
    from tokenizers import AddedToken, Tokenizer

    probe = "<|padfix-probe|>"
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.add_special_tokens([AddedToken(probe, special=True, normalized=False)])
    again = Tokenizer.from_str(copy.to_str())
    new: int | None = again.token_to_id(probe)
    return None if new is None or new in vocab.values() else new


def _settable(tokenizer: Any) -> bool:
    own = getattr(type(tokenizer), "pad_token", None)
    return not (isinstance(own, property) and own.fset is None)


def _serializable(tokenizer: Any, fast: bool) -> bool:
    if not fast:
        return hasattr(tokenizer, "save_vocabulary")
    backend = tokenizer.backend_tokenizer
    # a custom Python pre-tokenizer, normaliser or decoder cannot be written to JSON
    built = (backend.normalizer, backend.pre_tokenizer, backend.post_processor, backend.decoder)
    return not any(
        part.get("type") == "Custom" for component in built for part in parts(part_json(component))
    )


def _backend_padding(tokenizer: Any) -> BackendPadding | None:
    padding = tokenizer.backend_tokenizer.padding
    if not padding:
        return None
    return BackendPadding(
        pad_id=padding["pad_id"],
        pad_token=padding["pad_token"],
        direction=padding["direction"],
        fixed_length=padding.get("length"),
    )
