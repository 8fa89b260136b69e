"""Carry out a plan on a checkpoint's small files. Weights are never written.

The new files are made in memory and read back by the same reader that an audit uses, before anything is
written: what would not end in the planned state, or would break a rule that held before, is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from padfix.errors import PadfixError, SourceError, StrategyError
from padfix.types import ABSENT, BackendPadding, Edit, Finding, PadReport, PadState, Plan, Token
from padfix.write import files, folders
from padfix.write.diff import unified
from padfix.write.json_text import JsonText

MAX_JSON: Final = 256 * 2**20  # bytes; the largest tokenizer.json known has 35 MB
_FLAGS: Final = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}


@dataclass(frozen=True)
class Repair:
    """A planned repair of a folder: the states, and each changed file as it was (None: not there) and will be."""

    folder: Path
    before: PadState
    after: PadState
    plan: Plan
    findings: tuple[Finding, ...]
    old: Mapping[str, str | None]
    new: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.new)

    def diff(self) -> str:
        """Every change as a unified diff; empty when nothing changes."""
        return "".join(unified(name, self.old[name] or "", text) for name, text in self.new.items())


def fix_checkpoint(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str] | None = None,
    strategy: str = "auto",
    *,
    pad_token: str | None = None,
    dry_run: bool = False,
) -> PadReport:
    """Give the tokenizer in a folder a pad token, and bring its configs in step. No weight is written.

    ``dst``: a folder that does not exist yet, or is empty, receives a fixed copy; None (or ``src`` itself)
    fixes in place, all files or none. ``strategy`` and ``pad_token`` are those of `ensure_pad`: any token of
    the vocabulary that nothing speaks against. A repair that needs new embedding rows is refused.

    The report's ``findings`` are those of an audit of the result; ``undo()`` puts the old files back (or
    removes the copy). Raises `SourceError` for what cannot be read or written, `StrategyError` for what
    does not apply; nothing was changed then.
    """
    repair = plan_repair(src, strategy, pad_token=pad_token)
    if dry_run:
        return _report(repair, None)
    if dst is not None and Path(dst).resolve() != repair.folder.resolve():
        return _report(repair, write_copy(repair, Path(dst)))
    return _report(repair, write_in_place(repair) if repair else None)


def plan_repair(
    src: str | os.PathLike[str], strategy: str = "auto", *, pad_token: str | None = None
) -> Repair:
    """Read a folder and work out its repair. Nothing is written. Raises as `fix_checkpoint`."""
    from padfix.read.repo import read_repo
    from padfix.read.source import FolderSource
    from padfix.rules import check
    from padfix.strategies import plan

    folder = Path(src)
    if not folder.is_dir():
        raise SourceError(
            f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; a fix needs a checkpoint's folder"
        )
    if files.interrupted(folder):
        files.recover(folder)
    source = FolderSource(folder, name=str(src), inside=folders.cache_of(folder))
    before = read_repo(source, wanted=pad_token)
    made = plan(before, strategy, pad_token=pad_token)
    _refuse_growth(made)
    old, new = _changes(folder, source, before, made)
    after = read_repo(_Overlay(source, new)) if new else before
    _refuse_surprise(made, before, after)
    findings = check(after)
    worse = _new_errors(check(before), findings)
    if worse:
        listed = "; ".join(f"{f.code} {f.name}: {f.message}" for f in worse)
        raise StrategyError(
            f"nothing was changed, since the result would break a rule that holds now: {listed}"
        )
    return Repair(folder, before, after, made, findings, old, new)


def write_in_place(repair: Repair) -> Callable[[], None]:
    """Write the repair into its folder, all files or none. Returns what undoes it."""
    files.replace_files(repair.folder, _encoded(repair.new))

    def undo() -> None:
        restore: dict[str, bytes | None] = {
            name: None if text is None else text.encode("utf-8") for name, text in repair.old.items()
        }
        for name, text in repair.new.items():
            if _text(repair.folder / name) != text:
                raise PadfixError(
                    f"{repair.folder / name} was changed since the fix; undo would lose that change"
                )
        files.replace_files(repair.folder, restore)

    return undo


def write_copy(repair: Repair, dst: Path) -> Callable[[], None]:
    """Write a fixed copy of the folder, which appears at once and whole. Returns what removes it."""
    return folders.copy_folder(repair.folder, dst, _encoded(repair.new))


def _report(repair: Repair, undo: Callable[[], None] | None) -> PadReport:
    once = None if undo is None else _once(undo)
    return PadReport(
        repair.before,
        repair.after,
        repair.plan,
        None,
        repair.findings,
        changed=undo is not None and bool(repair),
        dry_run=undo is None and bool(repair),
        _undo=once,
    )


def _once(undo: Callable[[], None]) -> Callable[[], None]:
    done = False

    def run() -> None:
        nonlocal done
        if done:
            raise PadfixError("this fix was undone already")
        undo()
        done = True

    return run


def _refuse_growth(plan: Plan) -> None:
    """Files of weights are not written, so a plan that changes a row is refused with the way round it."""
    rows = [edit for edit in plan.edits if edit.target == "weights"]
    if rows:
        needed = ", ".join(f"{edit.key} {edit.before} -> {edit.after}" for edit in rows)
        raise StrategyError(
            f"this repair needs new embedding rows ({needed}), and padfix fix does not write weights. Load the model and use "
            f"padfix.ensure_pad(model, tok, strategy={plan.strategy!r}), then save both with save_pretrained"
        )


def _refuse_surprise(plan: Plan, before: PadState, after: PadState) -> None:
    """The files must say what the plan foretold, as the reader of every audit reads them."""
    wanted = plan.project(before).portable()
    names = ["pad", "eos", "bos", "unk", "n_tokens", "max_id", "config_pad_id", "text_config_pad_ids"]
    if before.has_generation_config:  # without the file it is derived from the config, at every load
        names.append("generation_pad_id")
    for name in names:
        expected, found = getattr(wanted, name), getattr(after.portable(), name)
        if expected != found:
            raise StrategyError(
                f"nothing was changed: these files would give {name} = {found!r} where the plan needs {expected!r}. "
                "Load the tokenizer, use padfix.ensure_pad(None, tok), and save it with save_pretrained"
            )


def _new_errors(before: tuple[Finding, ...], after: tuple[Finding, ...]) -> tuple[Finding, ...]:
    known = {finding.code for finding in before if finding.severity == "error"}
    return tuple(finding for finding in after if finding.severity == "error" and finding.code not in known)


# --- the new files ------------------------------------------------------------------------------------


def _changes(
    folder: Path, source: Any, state: PadState, plan: Plan
) -> tuple[dict[str, str | None], dict[str, str]]:
    """Every changed file as it was and as it will be, in the order in which they are written."""
    docs = _Documents(source)
    for edit in plan.edits:
        if edit.target == "tokenizer" and edit.key == "added_token":
            _add_token(docs, edit.after)
        elif edit.target == "tokenizer" and edit.key == "pad_token":
            _name_pad(docs, edit.after)
        elif edit.target == "generation_config":
            docs.change("generation_config.json").set((edit.key,), edit.after)
        elif edit.target == "config" or edit.target.startswith("config."):
            _set_config(docs, edit)
        else:
            raise StrategyError(
                f"{edit} cannot be written to files; use padfix.ensure_pad on the loaded model"
            )
    if plan.pad is not None and plan.pad.id is not None:
        _agree_backend(docs, state.backend_padding, plan.pad)
    new = {name: doc.text for name in files.WRITABLE if (doc := docs.changed(name)) is not None}
    return {name: docs.old[name] for name in new}, new


class _Documents:
    """The folder's JSON files, opened when a change needs them."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.names = frozenset(source.names())
        self.old: dict[str, str | None] = {}
        self._open: dict[str, JsonText] = {}

    def has(self, name: str) -> bool:
        return name in self.names

    def change(self, name: str) -> JsonText:
        """The document, an empty one where the folder has none."""
        if name not in self._open:
            self.old[name] = None
            text = "{}\n"
            if self.has(name):
                data = self.source.read(name, MAX_JSON)
                try:
                    text = data.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise SourceError(
                        f"{name} is not UTF-8 (byte {error.start}), so it cannot be changed"
                    ) from error
                self.old[name] = text
            self._open[name] = JsonText(text, name)
        return self._open[name]

    def changed(self, name: str) -> JsonText | None:
        doc = self._open.get(name)
        return doc if doc is not None and doc.text != self.old[name] else None


def _add_token(docs: _Documents, token: Token) -> None:
    """Declare a new special token wherever this folder declares its added tokens.

    A file that is not there is not made, with one exception: a tokenizer without ``tokenizer.json`` and
    without ``added_tokens_decoder`` reads new tokens from ``added_tokens.json`` only. A new
    ``added_tokens_decoder`` would make transformers 4 stop reading the older files.
    """
    declared = False
    if docs.has("tokenizer.json"):
        doc = docs.change("tokenizer.json")
        if doc.get("added_tokens") is ABSENT:
            doc.set(("added_tokens",), [])
        doc.append(("added_tokens",), {"id": token.id, "content": token.text, **_in_backend_order()})
        declared = True
    if docs.has("tokenizer_config.json"):
        doc = docs.change("tokenizer_config.json")
        if isinstance(doc.get("added_tokens_decoder"), dict):
            doc.set(("added_tokens_decoder", str(token.id)), {"content": token.text, **_FLAGS})
            declared = True
    if docs.has("added_tokens.json") or not declared:
        docs.change("added_tokens.json").set((token.text,), token.id)


def _in_backend_order() -> dict[str, bool]:
    """The flags in the order in which the tokenizers library writes them."""
    return {name: _FLAGS[name] for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}


def _name_pad(docs: _Documents, pad: Token) -> None:
    """Name the pad where transformers reads it: `special_tokens_map.json` wins where it is present."""
    docs.change("tokenizer_config.json").set(("pad_token",), pad.text)
    if docs.has("special_tokens_map.json"):
        docs.change("special_tokens_map.json").set(("pad_token",), pad.text)


def _set_config(docs: _Documents, edit: Edit) -> None:
    path = tuple(edit.target.split(".")[1:])
    doc = docs.change("config.json")
    if path and doc.get(*path) is ABSENT:
        raise StrategyError(
            f"config.json has no {'.'.join(path)}, so its {edit.key} cannot be set to {edit.after}"
        )
    doc.set((*path, edit.key), edit.after)


def _agree_backend(docs: _Documents, padding: BackendPadding | None, pad: Token) -> None:
    """The padding block of tokenizer.json, which Rust, Java and Go consumers honour, must name the same pad."""
    if padding is None or (padding.pad_id, padding.pad_token) == (pad.id, pad.text):
        return
    doc = docs.change("tokenizer.json")
    if isinstance(doc.get("padding"), dict):
        doc.set(("padding", "pad_id"), pad.id)
        doc.set(("padding", "pad_token"), pad.text)


def _encoded(new: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode("utf-8") for name, text in new.items()}


def _text(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.is_file() else None


class _Overlay:
    """A source with some files replaced, so that a repair is read back before it is written."""

    def __init__(self, source: Any, new: Mapping[str, str]) -> None:
        self._source = source
        self._new = _encoded(new)

    @property
    def name(self) -> str:
        return str(self._source.name)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted({*self._source.names(), *self._new}))

    def size(self, name: str) -> int:
        return len(self._new[name]) if name in self._new else self._source.size(name)

    def read(self, name: str, limit: int) -> bytes:
        if name not in self._new:
            return bytes(self._source.read(name, limit))
        if len(self._new[name]) > limit:
            raise SourceError(
                f"{self.name}: {name} would have {len(self._new[name]):,} bytes, more than {limit:,}"
            )
        return self._new[name]

    def range(self, name: str, start: int, length: int) -> bytes:
        if name not in self._new:
            return bytes(self._source.range(name, start, length))
        return self._new[name][start : start + length]
