"""Small real tokenizers, constructed in code, whose ids fit the tiny models.

Each is a backend of the ``tokenizers`` library in a ``PreTrainedTokenizerFast``, so it adds, saves,
reloads and pads as any downloaded one does. Every printable ASCII text encodes without ``unk``.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from padfix.testing.tiny import VOCAB_SIZE

Kind = Literal["byte-bpe", "byte-fallback", "wordpiece", "unigram", "wordlevel"]

TEXTS: Final = (
    "The cat sat on the mat.",
    "Hello",
    "An apple a day keeps the doctor away, or so they say.",
    "What is 2 + 2? It is 4!",
)
"""Ordinary English of several lengths, for probes and tests."""

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""A chat template that ends every turn with EOS."""

FAMILY: Final = "the family's own"
"""Stands for the special token that the kind of tokenizer usually has."""

_PRINTABLE: Final = tuple(chr(code) for code in range(33, 127))
_WORDS: Final = ("the", "of", "and", "to", "in", "is", "it", "on", "he", "er", "an", "re", "th", "at")
_DEFAULTS: Final[dict[Kind, dict[str, str]]] = {
    "byte-bpe": {"eos": "<|endoftext|>"},
    "byte-fallback": {"unk": "<unk>", "bos": "<s>", "eos": "</s>"},
    "wordpiece": {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "unigram": {"unk": "<unk>", "eos": "</s>"},
    "wordlevel": {"unk": "[UNK]", "eos": "[EOS]"},
}
_ROLES: Final = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")


def tiny_tokenizer(
    kind: Kind = "byte-bpe",
    *,
    pad: str | None = None,
    eos: str | None = FAMILY,
    unk: str | None = FAMILY,
    bos: str | None = FAMILY,
    cls: str | None = FAMILY,
    sep: str | None = FAMILY,
    mask: str | None = FAMILY,
    vocab_size: int | None = None,
    reserved: int | Sequence[str] = 0,
    ids: Mapping[str, int] | None = None,
    template: str | None = None,
    chat_template: str | None = None,
    padding_side: Literal["right", "left"] = "right",
    **options: Any,
) -> Any:
    """A small real tokenizer (``PreTrainedTokenizerFast``), the same on every call.

    ``kind``: ``"byte-bpe"`` (GPT-2), ``"byte-fallback"`` (Llama, 256 byte tokens, so ``unk`` is never
    produced), ``"wordpiece"`` (BERT, lower case), ``"unigram"`` (T5), ``"wordlevel"`` (a few words, so
    ``unk`` is often produced). The special tokens default to those of the family; pass None to leave
    one out, or its string. There is no pad unless ``pad`` names one.

    ``vocab_size``: exactly so many ids, 0 to vocab_size - 1 (default 131; byte-fallback 400), filled
    with ordinary entries that no text produces. ``reserved``: so many ``<|reserved_i|>`` added tokens,
    or their strings. ``ids``: where certain tokens go (others keep the order: special tokens, then
    reserved, then text). ``template``: a post-processor such as ``"$A </s>"``; wordpiece defaults to
    ``"[CLS] $A [SEP]"``. Other keywords go to ``PreTrainedTokenizerFast``.

    >>> tok = tiny_tokenizer("byte-bpe", pad="<pad>")
    >>> len(tok), tok.pad_token_id, tok.decode(tok("Hello, world!")["input_ids"])
    (131, 0, 'Hello, world!')
    """
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    given = {"pad": pad, "unk": unk, "bos": bos, "eos": eos, "cls": cls, "sep": sep, "mask": mask}
    specials = {role: _DEFAULTS[kind].get(role) if given[role] == FAMILY else given[role] for role in _ROLES}
    roles = {role: text for role, text in specials.items() if text is not None}
    spare = [f"<|reserved_{i}|>" for i in range(reserved)] if isinstance(reserved, int) else list(reserved)
    size = vocab_size if vocab_size is not None else (400 if kind == "byte-fallback" else VOCAB_SIZE)
    added = list(dict.fromkeys([*roles.values(), *spare]))
    vocab = _place([*added, *_text_tokens(kind)], ids or {}, size)

    backend = _backend(kind, vocab, roles.get("unk"))
    if template is None and kind == "wordpiece" and {"cls", "sep"} <= roles.keys():
        template = f"{roles['cls']} $A {roles['sep']}"
    if template is not None:
        used = [(token, vocab[token]) for token in template.split() if token in added]
        parts = template.split()
        second = [f"{part.replace('$A', '$B')}:1" for part in parts[parts.index("$A") :]]
        backend.post_processor = processors.TemplateProcessing(
            single=parts, pair=[*parts, *second], special_tokens=list(dict.fromkeys(used))
        )
    # in the order of their ids: a backend gives the next free id to a token that it does not know yet
    backend.add_special_tokens([AddedToken(t, special=True) for t in sorted(added, key=vocab.__getitem__)])
    tok = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side=padding_side,
        **{f"{role}_token": text for role, text in roles.items()},
        **options,
    )
    if chat_template is not None:
        tok.chat_template = chat_template
    return tok


def matching_tokenizer(model: Any, kind: Kind = "byte-bpe", **options: Any) -> Any:
    """A tokenizer whose special tokens have the ids that a model's configuration declares.

    It has as many tokens as the model has input rows, so that a new token must grow them (or
    ``vocab_size``). Where the configuration declares a pad, a special token has its id; with
    ``pad=None`` it is there, but not set. Other keywords go to `tiny_tokenizer`.

    >>> from padfix.testing.tiny import tiny_model
    >>> model = tiny_model("gpt2")
    >>> matching_tokenizer(model).eos_token_id == model.config.eos_token_id
    True
    """
    config = model.config.get_text_config()
    rows = _rows(model, config)
    declared = {
        role: _first(getattr(config, f"{role}_token_id", None), rows) for role in ("pad", "bos", "eos")
    }
    names = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", **_DEFAULTS[kind]}
    ids: dict[str, int] = {}
    chosen: dict[str, Any] = {}
    for role in ("eos", "bos", "pad"):
        place = declared[role]
        name = next((text for text, taken in ids.items() if taken == place), names[role])
        chosen[role] = options.pop(role, None if place is None and role != "eos" else name)
        if place is not None:
            ids[chosen[role] or name] = place
    reserved = options.pop("reserved", ())
    unset = [name for name in ids if name not in chosen.values()]
    spare = [f"<|reserved_{i}|>" for i in range(reserved)] if isinstance(reserved, int) else list(reserved)
    options["reserved"] = [*unset, *spare]
    size = options.pop("vocab_size", rows)
    return tiny_tokenizer(kind, ids={**ids, **options.pop("ids", {})}, vocab_size=size, **chosen, **options)


def _rows(model: Any, config: Any) -> int:
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return int(
            getattr(config, "vocab_size", VOCAB_SIZE)
        )  # CANINE hashes characters: it has no vocabulary


def _first(value: Any, rows: int) -> int | None:
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < rows:
        return None
    return value


def _text_tokens(kind: Kind) -> list[str]:
    """What texts are encoded with, the indispensable first."""
    if kind == "byte-bpe":
        return ["Ġ", "Ċ", *_PRINTABLE, *(word for _, _, word in _merges("Ġ"))]
    if kind == "byte-fallback":
        return [
            *(f"<0x{byte:02X}>" for byte in range(256)),
            "▁",
            *_PRINTABLE,
            *(w for _, _, w in _merges("▁")),
        ]
    if kind == "wordpiece":
        inner = [f"##{c}" for c in string.ascii_lowercase + string.digits]
        return [*string.ascii_lowercase, *string.digits, *string.punctuation, *inner, "the", "##ing"]
    if kind == "unigram":
        return ["▁", *_PRINTABLE, *(f"▁{word}" for word in _WORDS[:8]), *_WORDS[8:]]
    return [*_WORDS, "cat", "sat", "mat", ".", ",", "!", "?"]


def _merges(space: str) -> list[tuple[str, str, str]]:
    pairs = [
        ("h", "e"),
        ("t", "he"),
        (space, "the"),
        ("i", "n"),
        (space, "a"),
        ("e", "r"),
        ("o", "n"),
        ("r", "e"),
    ]
    return [(left, right, left + right) for left, right in pairs]


def _place(tokens: Iterable[str], ids: Mapping[str, int], size: int) -> dict[str, int]:
    """Ids 0 to size - 1: the wanted places first, the other tokens in order, then unreachable entries."""
    tokens = list(dict.fromkeys(tokens))
    if len(tokens) > size:
        raise ValueError(f"this tokenizer needs {len(tokens)} ids to encode English, vocab_size is {size}")
    wrong = {text: at for text, at in ids.items() if not 0 <= at < size}
    if wrong or len(set(ids.values())) < len(ids):
        raise ValueError(f"every id must be distinct and below {size}: {dict(ids)}")
    by_id: dict[int, str] = {at: text for text, at in ids.items()}
    others = iter([text for text in tokens if text not in ids])
    return {
        text: at
        for at in range(size)
        for text in [by_id[at] if at in by_id else next(others, f"unreachable{at:04d}")]
    }


def _backend(kind: Kind, vocab: dict[str, int], unk: str | None) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    if kind == "byte-bpe":
        merges = [(left, right) for left, right, _ in _merges("Ġ")]
        backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=unk))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    elif kind == "byte-fallback":
        merges = [(left, right) for left, right, _ in _merges("▁")]
        backend = Tokenizer(
            models.BPE(vocab=vocab, merges=merges, unk_token=unk, byte_fallback=True, fuse_unk=True)
        )
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    elif kind == "wordpiece":
        backend = Tokenizer(models.WordPiece(vocab=vocab, unk_token=unk or "[UNK]"))
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
    elif kind == "unigram":
        pieces = sorted(vocab, key=vocab.__getitem__)
        scores = [(piece, -float(10 - min(len(piece), 6)) if len(piece) < 8 else -50.0) for piece in pieces]
        backend = Tokenizer(models.Unigram(scores, unk_id=None if unk is None else vocab[unk]))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
    else:
        backend = Tokenizer(models.WordLevel(vocab=vocab, unk_token=unk or "[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend
