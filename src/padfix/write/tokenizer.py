"""Setting a pad token on a live tokenizer, and taking it back.

A fast tokenizer's backend is never edited: a copy as a reload would give it replaces it, so taking back means
putting the old object in place, and a new token has the id that it will have after save and reload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from padfix.errors import PadfixError, StrategyError
from padfix.read.live_tokenizer import count_tokens, is_fast
from padfix.types import Token
from padfix.write.journal import Journal

_TRIES = ("Trie", "ExtensionsTrie")

_LARGE = 4096
"""A vocabulary or a list of merges: flat, so one shallow copy does."""


class Snapshot:
    """A tokenizer's attributes and the content of its maps, lists and tries; a backend is kept by reference."""

    def __init__(self, tokenizer: Any) -> None:
        self._owner = tokenizer
        self._attributes = dict(vars(tokenizer))
        self._contents = {
            name: _content(value) for name, value in self._attributes.items() if _mutable(value)
        }

    def restore(self) -> None:
        """Make every attribute what it was, the same objects with the same content."""
        own = vars(self._owner)
        for name in set(own) - set(self._attributes):
            own.pop(name, None)
        own.update(self._attributes)
        for name, content in self._contents.items():
            _refill(self._attributes[name], content)

    def changed(self) -> tuple[str, ...]:
        """Names of the attributes that are not what they were."""
        own = vars(self._owner)
        gone = [name for name in self._attributes if name not in own]
        return tuple(gone) + tuple(
            name
            for name, value in own.items()
            if name not in self._attributes
            or value is not self._attributes[name]
            or (name in self._contents and _content(value) != self._contents[name])
        )

    def undo_of(self, names: tuple[str, ...]) -> Callable[[], None]:
        """Restore these attributes alone; of a map, only the keys that differ now."""
        own = vars(self._owner)
        keys = {
            name: [
                k
                for k in {**self._contents[name], **own[name]}
                if _at(own[name], k) != _at(self._contents[name], k)
            ]
            for name in names
            if name in self._contents
            and isinstance(own.get(name), dict)
            and own[name] is self._attributes[name]
        }

        def undo() -> None:
            for name in names:
                if name in keys:
                    for key in keys[name]:
                        if key in self._contents[name]:
                            own[name][key] = _content(self._contents[name][key])
                        else:
                            own[name].pop(key, None)
                elif name in self._attributes:
                    own[name] = self._attributes[name]
                    if name in self._contents:
                        _refill(own[name], self._contents[name])
                else:
                    own.pop(name, None)

        return undo


def set_pad(tokenizer: Any, pad: Token, added: bool, journal: Journal) -> None:
    """Make ``pad`` the pad token; ``added``: it is new to the vocabulary.

    Raises `StrategyError` where the tokenizer does not take it, or gives it another id than planned.
    """
    from tokenizers import AddedToken

    special = AddedToken(pad.text, lstrip=False, rstrip=False, normalized=False, special=True)
    fast = is_fast(tokenizer)
    count = count_tokens(tokenizer)
    backend = tokenizer.backend_tokenizer if fast else None
    listed = pad.text in _added_tokens(tokenizer)
    if fast and not listed:
        _set_backend(tokenizer, _copied(backend))
    try:
        if listed:
            tokenizer.pad_token = pad.text
        else:  # what a reload would do with a pad that is not among the added tokens
            tokenizer.add_special_tokens({"pad_token": special})
    except Exception as error:
        raise StrategyError(
            f"{type(tokenizer).__name__} does not let its pad token be set to {pad.text!r}: {type(error).__name__}: {error}. "
            "Its class defines pad_token itself; pad with an id of your own in the collator instead"
        ) from error
    now = count_tokens(tokenizer)
    if added and fast and tokenizer.backend_tokenizer.token_to_id(pad.text) != now - 1:
        _set_backend(
            tokenizer, _copied(tokenizer.backend_tokenizer)
        )  # with holes, ids are given anew on a reload
    _check(tokenizer, pad, _id_of(tokenizer, pad.text), now - count, added)
    if fast:
        _set_backend_padding(tokenizer.backend_tokenizer, pad, journal)


def set_processor_pad(
    processor: Any, tokenizer: Any, before: Token | None, pad: Token, journal: Journal
) -> None:
    """Bring the copies that some processors keep of their tokenizer's pad in step (HunYuanVL)."""
    if processor is tokenizer:
        return
    for name, old, new in (
        ("pad_token", None if before is None else before.text, pad.text),
        ("pad_token_id", None if before is None else before.id, pad.id),
    ):
        if name in vars(processor) and vars(processor)[name] == old:
            journal.set_attribute(processor, name, new)


def _added_tokens(tokenizer: Any) -> Any:
    try:
        return tokenizer.added_tokens_encoder
    except (AttributeError, NotImplementedError):  # mistral-common's tokenizers have no such table
        return ()


def _id_of(tokenizer: Any, text: str) -> int | None:
    """Never ``convert_tokens_to_ids``, which answers with the unk id for what is not there."""
    found = (
        tokenizer.backend_tokenizer.token_to_id(text)
        if is_fast(tokenizer)
        else tokenizer.get_vocab().get(text)
    )
    return None if found is None else int(found)


def _check(tokenizer: Any, pad: Token, found: int | None, growth: int, added: bool) -> None:
    name = type(tokenizer).__name__
    if found != pad.id:
        raise StrategyError(
            f"{name} gives {pad.text!r} the id {found}, and the plan was made for {pad.id}; make a new plan"
        )
    if growth != int(added):
        raise StrategyError(
            f"setting {pad.text!r} changed the size of {name} by {growth} tokens, not by {int(added)}; make a new plan"
        )
    text, number = tokenizer.pad_token, tokenizer.pad_token_id
    if str(text) != pad.text or number != pad.id:
        raise StrategyError(
            f"{name} does not take a pad token: after it was set to {pad.text!r} ({pad.id}) it answers {text!r} ({number}). "
            "Its class defines pad_token itself; pad with an id of your own in the collator instead"
        )


def _set_backend(tokenizer: Any, backend: Any) -> None:
    tokenizer._tokenizer = backend


def _copied(backend: Any) -> Any:
    """A copy as a reload gives it, with what a file does not hold carried over; the model is shared.

    Nothing in the tokenizers library changes a model's vocabulary or merges, so only the parts around it go through
    their JSON form, and the added tokens are added in the order in which a file lists them. Through JSON as a whole,
    Llama 3's 128256 tokens and 280147 merges take 1.0 to 1.6 s, this 1 ms. Where an added token gets another id
    (there are holes in the vocabulary), the whole of it decides, as it does on a reload.
    """
    from tokenizers import Tokenizer, models

    try:
        new = Tokenizer(models.BPE())
        for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
            if (part := getattr(backend, name)) is not None:
                setattr(new, name, part)
        new = Tokenizer.from_str(new.to_str())
        new.model = backend.model
        new.add_tokens([token for _, token in sorted(backend.get_added_tokens_decoder().items())])
        if backend.truncation:
            new.enable_truncation(**backend.truncation)
        if backend.padding:
            new.enable_padding(**backend.padding)
        if _added(new) != _added(backend):
            new = Tokenizer.from_str(backend.to_str())
    except Exception as error:
        raise StrategyError(
            f"the tokenizer's backend cannot be written as JSON ({type(error).__name__}: {str(error)[:160]}), so the new token's id after a "
            "reload is not known. Use a token that is already special: strategy='eos', 'unk' or 'reserved'"
        ) from error
    new.encode_special_tokens = backend.encode_special_tokens
    return new


def _added(backend: Any) -> dict[int, Any]:
    """Every added token of a backend by id, with all of its flags."""
    return {int(i): token.__getstate__() for i, token in backend.get_added_tokens_decoder().items()}


def _set_backend_padding(backend: Any, pad: Token, journal: Journal) -> None:
    """Other consumers of tokenizer.json (Rust, Java, Go) pad with what its ``padding`` block says."""
    old = backend.padding
    if not old or (old["pad_id"], old["pad_token"]) == (pad.id, pad.text):
        return
    journal.record("backend padding", lambda: backend.enable_padding(**old))
    backend.enable_padding(**{**old, "pad_id": pad.id, "pad_token": pad.text})


def refuse_if_edited(tokenizer: Any, count: int, pad: Token) -> None:
    """Raise `PadfixError` when tokens were added, or another pad set, since the fix."""
    if (now := count_tokens(tokenizer)) != count or str(tokenizer.pad_token) != pad.text:
        raise PadfixError(
            f"cannot undo: the tokenizer was changed since (it had {count} tokens and pad {pad.text!r}, it has {now} "
            f"and {tokenizer.pad_token!r}); load it again instead"
        )


def _mutable(value: Any) -> bool:
    return isinstance(value, (dict, list, set)) or type(value).__name__ in _TRIES


def _content(value: Any) -> Any:
    """A copy of what a container holds, containers inside it included; anything else is itself."""
    if isinstance(value, (dict, list)) and len(value) > _LARGE:
        return value.copy()
    if isinstance(value, dict):
        return {k: _content(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_content(v) for v in value]
    if isinstance(value, set):
        return set(value)
    if type(value).__name__ in _TRIES:
        return _content(vars(value))
    return value


def _refill(container: Any, content: Any) -> None:
    if type(container).__name__ in _TRIES:
        container = vars(container)
    fresh = _content(content)
    if isinstance(container, list):
        container[:] = fresh
        return
    container.clear()
    container.update(fresh)


_MISSING = object()


def _at(mapping: Any, key: Any) -> Any:
    return mapping.get(key, _MISSING)
