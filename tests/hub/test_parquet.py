"""Parquet: one row per repository, complete or not there, whatever strings a repository holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from padfix.errors import MissingDependencyError, SourceError
from padfix.hub.parquet import ParquetFile, write_parquet
from padfix.types import Finding, PadState, Report, Skip, Token


def reports(n: int) -> list[Report]:
    finding = Finding("PAD001", "missing-pad-token", "error", "bad \ud800 surrogate", file="x.json")
    state = PadState(
        source="org/0@abc", model_type="llama", pad=Token("\udcff", 2**70), n_tokens=5, config_pad_id=-1
    )
    return [Report("org/0", state, (finding,)), Report("org/1", None, (), (Skip("org/1", "gated: no"),))] * n


def test_rows(tmp_path: Path) -> None:
    """Every report is a row with its facts, and its findings as a list."""
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [json.loads(json.dumps({**r.to_dict(), "ok": r.ok})) for r in reports(2500)]
    assert write_parquet(records, tmp_path / "x.parquet") == 5000
    rows = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert len(rows) == 5000
    first, second = rows[:2]
    assert (first["source"], first["revision"], first["model_type"], first["ok"]) == (
        "org/0",
        "abc",
        "llama",
        False,
    )
    assert (first["pad"], first["pad_id"], first["config_pad_id"], first["errors"]) == ("?", None, -1, 1)
    assert first["findings"][0]["message"] == "bad ? surrogate"
    assert (second["skipped"], second["skip_reason"], second["model_type"]) == ("gated", "gated: no", None)


def test_appears_when_complete(tmp_path: Path) -> None:
    """The name exists only once the file is whole."""
    pytest.importorskip("pyarrow")
    file = ParquetFile(tmp_path / "x.parquet")
    file.add(reports(1)[0].to_dict())
    assert not (tmp_path / "x.parquet").exists()
    file.close()
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]


def test_unwritable(tmp_path: Path) -> None:
    """A path that cannot be written is a typed error at once."""
    pytest.importorskip("pyarrow")
    with pytest.raises(SourceError, match="cannot write"):
        ParquetFile(tmp_path / "no" / "x.parquet")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the command that installs it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'padfix\[parquet\]'"):
        ParquetFile(tmp_path / "x.parquet")
