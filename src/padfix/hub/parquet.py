"""Results as Parquet, for queries over whole hubs: one row per repository, written in batches.

Made from a results file (`padfix.hub.ledger`), since Parquet itself can be neither appended to after a
kill nor read before it is closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from padfix.errors import MissingDependencyError, SourceError
from padfix.render.summary import kind_of

_BATCH: Final = 2000  # rows; a few MB


class ParquetFile:
    """A Parquet file that takes one record after another; it appears under its name when it is closed.

    Memory is one batch. Raises `MissingDependencyError` without pyarrow, `SourceError` where the path cannot
    be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingDependencyError(
                "-f parquet needs pyarrow; install it with: pip install 'padfix[parquet]'"
            ) from error
        text, number, flag = pa.string(), pa.int64(), pa.bool_()
        finding = pa.struct([(name, text) for name in ("code", "name", "severity", "message", "file", "key")])
        self._schema = pa.schema(
            [
                ("source", text), ("revision", text), ("ok", flag), ("skipped", text), ("skip_reason", text),
                ("model_type", text), ("architecture", text), ("tokenizer_class", text), ("pad", text), ("pad_id", number),
                ("eos", text), ("eos_id", number), ("unk", text), ("unk_id", number), ("n_tokens", number),
                ("vocab_size", number), ("input_rows", number), ("config_pad_id", number), ("generation_pad_id", number),
                ("padding_side", text), ("errors", number), ("warnings", number), ("findings", pa.list_(finding)),
            ]
        )  # fmt: skip
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._table = pa.Table
        self._batch: list[dict[str, Any]] = []
        self.rows = 0
        try:
            self._writer = pq.ParquetWriter(self._partial, self._schema, compression="zstd")
        except OSError as error:
            raise SourceError(f"cannot write {self.path}: {error.strerror or error}") from error

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record, as `Report.to_dict` or a line of a results file gives it."""
        self._batch.append(_row(record))
        self.rows += 1
        if len(self._batch) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._writer.write_table(self._table.from_pylist(self._batch, schema=self._schema))
            self._batch.clear()

    def close(self) -> None:
        """Write the rest, and give the file its name."""
        try:
            self._flush()
            self._writer.close()
            self._partial.replace(self.path)
        except OSError as error:
            self._partial.unlink(missing_ok=True)
            raise SourceError(f"cannot write {self.path}: {error.strerror or error}") from error


def write_parquet(records: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> int:
    """Write the records of a results file as Parquet and return their number. Raises as `ParquetFile`."""
    file = ParquetFile(path)
    for record in records:
        file.add(record)
    file.close()
    return file.rows


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    state = record.get("state") or {}
    findings = record.get("findings") or []
    reasons = [s["reason"] for s in record.get("skipped") or []]
    reason = reasons[0] if reasons and not state else None
    revision = (
        str(state.get("source") or "").rpartition("@")[2] if "@" in str(state.get("source") or "") else None
    )
    row: dict[str, Any] = {
        "source": record["source"],
        "revision": revision,
        "ok": record.get("ok"),
        "skipped": kind_of(reason) if reason else None,
        "skip_reason": reason,
        "architecture": next(iter(state.get("architectures") or []), None),
        "errors": sum(f["severity"] == "error" for f in findings),
        "warnings": sum(f["severity"] == "warning" for f in findings),
        "findings": findings,
    }
    for role in ("pad", "eos", "unk"):
        token = state.get(role) or {}
        row[role] = token.get("text")
        row[f"{role}_id"] = _number(token.get("id"))
    for key in ("model_type", "tokenizer_class", "padding_side"):
        row[key] = state.get(key)
    for key in ("n_tokens", "vocab_size", "input_rows", "config_pad_id", "generation_pad_id"):
        row[key] = _number(state.get(key))
    return {key: _clean(value) for key, value in row.items()}


def _number(value: Any) -> int | None:
    """A number that 64 bits hold; an absent or broken id is null."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _clean(value: Any) -> Any:
    """Text that UTF-8 can hold: a lone surrogate of a hostile file becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [{k: _clean(v) for k, v in entry.items()} for entry in value]
    return value
