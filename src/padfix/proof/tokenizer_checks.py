"""The checks of the tokenizer: does ordinary text encode as before, and does the pad survive a reload?"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

from padfix.proof.probes import ENCODE_ERRORS, encode_all
from padfix.types import Check, Plan

_SMALL = 60_000  # entries; saving and loading 260 000 takes 4.6 s, this takes less than one


def text_kept(texts: Sequence[str], before: Sequence[tuple[int, ...]], tok: Any) -> Check:
    """Ordinary text encodes to the same ids as before the fix."""
    after = encode_all(tok, texts)
    moved = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    cause = None
    if moved:
        old, new = before[moved[0]], after[moved[0]]
        place = next(
            (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
        )
        cause = (
            f"{len(moved)} of {len(texts)} texts encode differently; the first at token {place}: "
            f"{old[place : place + 4]} -> {new[place : place + 4]} in {texts[moved[0]][:40]!r}"
        )
    return Check(
        "text-kept",
        not moved,
        True,
        float(len(moved)),
        0.0,
        "texts changed",
        cause,
        "take a pad string that no ordinary text contains" if moved else None,
    )


def round_trip(texts: Sequence[str], tok: Any, plan: Plan | None) -> Check | str:
    """The pad has the same string and id after save and reload; a string says why it could not be tested.

    Where a large vocabulary got no new token and has no holes, the backend's JSON stands for the files.
    """
    try:
        encoded = encode_all(tok, texts)
        pad, reloaded, how = _reload(tok, texts, plan)
    except (*ENCODE_ERRORS, OSError, RuntimeError) as problem:
        return f"round-trip: the tokenizer cannot be saved and loaded here ({type(problem).__name__}: {str(problem)[:200]})"
    own = (_text(tok), getattr(tok, "pad_token_id", None))
    cause = None
    if pad is not None and pad != own:
        cause = f"the pad is {own[0]!r} ({own[1]}) now and {pad[0]!r} ({pad[1]}) after a reload"
    changed = [n for n, (a, b) in enumerate(zip(encoded, reloaded, strict=True)) if a != b]
    detail = how
    if changed and cause is None:
        first = texts[changed[0]]
        if any(own[1] in reloaded[n] and own[1] not in encoded[n] for n in changed):
            cause = f"after a reload ordinary text encodes to the pad id {own[1]}: {first[:40]!r}"
        else:
            detail += f"; {len(changed)} texts encode differently after a reload, whatever the pad"
    return Check(
        "round-trip",
        cause is None,
        True,
        float(cause is not None),
        0.0,
        "pads moved",
        cause,
        "take the id that a fresh load gives, or a pad that is already in the added tokens"
        if cause
        else None,
        detail,
    )


def _text(tok: Any) -> str | None:
    value = getattr(tok, "pad_token", None)
    return None if value is None else str(value)


def _reload(
    tok: Any, texts: Sequence[str], plan: Plan | None
) -> tuple[tuple[str | None, int | None] | None, Any, str]:
    backend = getattr(tok, "_tokenizer", None)
    if backend is not None and not _needs_files(tok, plan):
        from tokenizers import Tokenizer

        fresh = Tokenizer.from_str(backend.to_str())
        fresh.no_padding()
        fresh.no_truncation()
        pad = _text(tok)
        ids = tuple(tuple(fresh.encode(text).ids) for text in texts)
        return (pad, fresh.token_to_id(pad)) if pad is not None else None, ids, "through the backend's JSON"
    with tempfile.TemporaryDirectory(prefix="padfix-") as folder, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the class's own advice at load (Marian's sacremoses) is not about the pad
        tok.save_pretrained(folder)
        fresh = type(tok).from_pretrained(folder)
        return (
            (_text(fresh), getattr(fresh, "pad_token_id", None)),
            encode_all(fresh, texts),
            "through saved files",
        )


def _needs_files(tok: Any, plan: Plan | None) -> bool:
    added = plan is not None and any(edit.key == "added_token" for edit in plan.edits)
    size = len(tok)
    if added or size <= _SMALL:
        return True
    ids = getattr(tok, "added_tokens_decoder", {})
    if (
        getattr(tok, "pad_token_id", None) not in ids
    ):  # a word of the base vocabulary becomes an added token when saved
        return True
    return max(tok.get_vocab().values(), default=0) + 1 != size
