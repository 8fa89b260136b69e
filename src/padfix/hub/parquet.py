"""Results as Parquet, for queries over whole hubs: one row per repository, written in batches.

Made from a results file (`padfix.hub.ledger`), since Parquet itself can be neither appended to after a
kill nor read before it is closed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from padfix.errors import MissingDependencyError, SourceError
from padfix.hub.summary import kind_of

_BATCH: Final = 2000  # rows; a few MB


def write_parquet(records: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> int:
    """Write the records of a results file as Parquet and return their number; memory is one batch.

    The file appears when it is complete. Raises `MissingDependencyError` without pyarrow, `SourceError`
    where the path cannot be written.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError(
            "-f parquet needs pyarrow; install it with: pip install 'padfix[parquet]'"
        ) from error
    text, number, flag = pa.string(), pa.int64(), pa.bool_()
    finding = pa.struct([(name, text) for name in ("code", "name", "severity", "message", "file", "key")])
    schema = pa.schema(
        [
            ("source", text), ("revision", text), ("ok", flag), ("skipped", text), ("skip_reason", text), ("model_type", text),
            ("architecture", text), ("tokenizer_class", text), ("pad", text), ("pad_id", number), ("eos", text),
            ("eos_id", number), ("unk", text), ("n_tokens", number), ("vocab_size", number), ("input_rows", number),
            ("config_pad_id", number), ("generation_pad_id", number), ("padding_side", text), ("errors", number),
            ("warnings", number), ("findings", pa.list_(finding)),
        ]
    )  # fmt: skip
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    rows = 0
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in _batches(map(_row, records)):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                rows += len(batch)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"cannot write {target}: {error.strerror or error}") from error
    return rows


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch


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
        row[f"{role}_id"] = token.get("id")
    for key in ("model_type", "tokenizer_class", "padding_side"):
        row[key] = state.get(key)
    for key in ("n_tokens", "vocab_size", "input_rows", "config_pad_id", "generation_pad_id"):
        value = state.get(key)
        row[key] = (
            value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
        )
    return {key: _clean(value) for key, value in row.items()}


def _clean(value: Any) -> Any:
    """Text that UTF-8 can hold: a lone surrogate of a hostile file becomes a question mark."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [{k: _clean(v) for k, v in entry.items()} for entry in value]
    return value
