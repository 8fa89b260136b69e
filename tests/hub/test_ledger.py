"""The results file: one line per repository, whatever kills the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from padfix.errors import SourceError
from padfix.hub.ledger import Ledger, read_lines, report_from
from padfix.types import Finding, PadState, Report, Skip, Token


def report(name: str) -> Report:
    state = PadState(source=f"{name}@abc", model_type="llama", pad=Token("<pad>", 3), eos=Token("</s>", 2))
    return Report(name, state, (Finding("PAD001", "missing-pad-token", "warning", "no\npad \ud800 \x1b"),))


def test_resume_knows_what_is_done(tmp_path: Path) -> None:
    """A resumed file goes on after its last line and names what is left."""
    path = tmp_path / "r.jsonl"
    with Ledger(path) as ledger:
        for name in ("a/1", 'odd "quoted" \\ name', "ünï/код"):
            ledger.write(report(name))
    with Ledger(path, resume=True) as ledger:
        assert len(ledger.done) == 3
        specs = [
            "a/1",
            "a/2",
            "ünï/код",
            Skip("a/3", "x"),
            Skip('odd "quoted" \\ name', "x"),
            Report("a/1", None),
        ]
        assert list(ledger.pending(specs)) == ["a/2", Skip("a/3", "x")]
        ledger.write(report("a/2"))
    assert [r["source"] for r in read_lines(path)] == ["a/1", 'odd "quoted" \\ name', "ünï/код", "a/2"]


@pytest.mark.parametrize("cut", range(1, 400, 13))
def test_a_torn_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    """Wherever the last line was cut by a kill, it is done again, and only it."""
    path = tmp_path / "r.jsonl"
    with Ledger(path) as ledger:
        ledger.write(report("a/1"))
        first = path.stat().st_size
        ledger.write(report("a/2"))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(first, len(whole) - cut)])
    with Ledger(path, resume=True) as ledger:
        assert "a/1" in ledger.done
        assert "a/2" not in ledger.done
        ledger.write(report("a/2"))
    assert path.read_bytes() == whole


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    """Without resume, a file that holds something is refused and stays as it is."""
    path = tmp_path / "r.jsonl"
    path.write_text("precious\n")
    with pytest.raises(SourceError, match=r"holds 9 bytes of results; --resume"):
        Ledger(path)
    with pytest.raises(SourceError, match="line 1 is no padfix report"):
        Ledger(path, resume=True)
    assert path.read_text() == "precious\n"


def test_one_writer(tmp_path: Path) -> None:
    """A second run that would append to the same file is refused."""
    with Ledger(tmp_path / "r.jsonl"), pytest.raises(SourceError, match="another padfix run"):
        Ledger(tmp_path / "r.jsonl", resume=True)
    Ledger(tmp_path / "r.jsonl", resume=True).close()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A path that cannot be written says so at once."""
    with pytest.raises(SourceError, match="cannot write"):
        Ledger(tmp_path)


def test_written_before_it_is_closed(tmp_path: Path) -> None:
    """A report is in the file as soon as it was written, not when a buffer is full."""
    with Ledger(tmp_path / "r.jsonl") as ledger:
        ledger.write(report("a/1"))
        assert len(list(read_lines(tmp_path / "r.jsonl"))) == 1


def test_reports_from_records(tmp_path: Path) -> None:
    """What tables and pages need comes back from a line: findings, skips, type, pad and EOS."""
    before = report("a/1")
    back = report_from(json.loads(json.dumps(before.to_dict())))
    assert back.findings == before.findings
    assert back.state is not None and before.state is not None
    assert (back.state.pad, back.state.eos, back.state.model_type) == (
        before.state.pad,
        before.state.eos,
        "llama",
    )
    assert report_from(Report("x", None, (), (Skip("x", "gated: y"),)).to_dict()).skipped == (
        Skip("x", "gated: y"),
    )


def test_lines_of_others(tmp_path: Path) -> None:
    """A line that is no report is an error with its number, not a silent gap."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"source": "a"}\n[1]\n')
    with pytest.raises(SourceError, match="line 2"):
        list(read_lines(path))
