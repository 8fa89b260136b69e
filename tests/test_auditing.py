"""The library's audit: one source raises, many report."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from checkpoints import write_checkpoint
from padfix.auditing import audit, audit_many, cached_repositories, repositories_under
from padfix.errors import ConfigError, SourceError
from padfix.types import Skip


def test_one_source(tmp_path: Path) -> None:
    """A report has the source's name as given, its state, and findings with a file and a line."""
    folder = write_checkpoint(tmp_path / "x", pad="<pad>", pad_token_id=99)
    report = audit(folder)
    assert report.source == str(folder)
    assert report.state is not None
    assert report.state.pad is not None
    assert report.state.pad.id == 3
    errors = [f for f in report.findings if f.severity == "error"]
    assert errors
    assert errors[0].file == "config.json"
    line = (folder / "config.json").read_text().splitlines()[(errors[0].line or 0) - 1]
    assert "pad_token_id" in line
    assert not report.ok
    assert audit(str(folder), ignore="PAD").ok


def test_task_select_and_ignore(tmp_path: Path) -> None:
    """The task sets severities; an unknown task or code is an error that names what there is."""
    folder = write_checkpoint(tmp_path / "x")
    by_task = {
        task: {f.code: f.severity for f in audit(folder, task=task).findings}.get("PAD001")
        for task in ("generation", "training", "serving")
    }
    assert by_task == {"generation": "warning", "training": "error", "serving": "info"}
    assert {f.code for f in audit(folder, select=["PAD001"]).findings} == {"PAD001"}
    assert "PAD001" not in {f.code for f in audit(folder, ignore="PAD0").findings}
    with pytest.raises(ConfigError, match="chat"):
        audit(folder, task="chat")
    with pytest.raises(ConfigError, match="PAD777"):
        audit(folder, select="PAD777")
    with pytest.raises(ConfigError, match="PAD777"):
        audit_many([folder], ignore="PAD777")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Alone it raises; among many it is a report without a state, in its place, with the reason."""
    good = write_checkpoint(tmp_path / "good", pad="<pad>")
    (tmp_path / "empty").mkdir()
    for bad in (tmp_path / "nope", tmp_path / "empty", good / "config.json"):
        with pytest.raises(SourceError, match=bad.name):
            audit(bad)
    reports = list(audit_many([good, tmp_path / "nope", Skip("x", "why"), good]))
    assert [r.state is not None for r in reports] == [True, False, False, True]
    assert reports[1].source == str(tmp_path / "nope")
    assert "no such folder" in reports[1].skipped[0].reason
    assert reports[2].skipped == (Skip("x", "why"),)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_many_are_a_stream_in_order(tmp_path: Path, concurrency: int) -> None:
    """Reports come in the order of the sources, and names are taken only as they are needed."""
    folder = write_checkpoint(tmp_path / "x", pad="<pad>")
    taken = 0

    def names():
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield folder if i % 2 else tmp_path / str(i)

    found = audit_many(names(), concurrency=concurrency)
    first = [next(found) for _ in range(6)]
    assert [r.source for r in first] == [str(folder) if i % 2 else str(tmp_path / str(i)) for i in range(6)]
    assert taken < 30
    found.close() if hasattr(found, "close") else None


def test_an_interrupted_fix_is_not_audited(tmp_path: Path) -> None:
    """Half-written files would give wrong findings: the error says how to finish the fix."""
    folder = write_checkpoint(tmp_path / "x")
    (folder / ".padfix-journal").mkdir()
    (folder / ".padfix-journal/manifest.json").write_text("{}")
    with pytest.raises(SourceError, match="padfix fix"):
        audit(folder)


def test_trees(tmp_path: Path) -> None:
    """Repositories are found by their files, sorted; links to folders are not followed, so no walk is endless."""
    for name in ("b/one", "a", ".git/x", "b/two"):
        write_checkpoint(tmp_path / name)
    (tmp_path / "web").mkdir()
    (tmp_path / "web/config.json").write_text("{}")
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf/model.gguf").write_bytes(b"GGUF")
    (tmp_path / "only-config").mkdir()
    (tmp_path / "only-config/config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "b/loop").symlink_to(tmp_path)
    found = [Path(str(path)).relative_to(tmp_path).as_posix() for path in repositories_under(tmp_path)]
    assert found == ["a", "b/one", "b/two", "gguf", "only-config"]
    assert [s.reason for s in repositories_under(tmp_path / "nope") if isinstance(s, Skip)] == [
        "cannot be listed: No such file or directory"
    ]


def test_an_unreadable_folder_in_a_tree_is_a_skip(tmp_path: Path) -> None:
    """What may not be listed is named, and the rest is still found."""
    write_checkpoint(tmp_path / "a")
    (tmp_path / "closed").mkdir(mode=0)
    if os.access(tmp_path / "closed", os.R_OK):
        pytest.skip("this user may read anything")
    assert [isinstance(x, Skip) for x in repositories_under(tmp_path)] == [False, True]


def test_the_cache(tmp_path: Path) -> None:
    """main where there is one, else every snapshot; a repository without any is a skip; no cache is an error."""
    for name, commit, main in (("models--a--one", "1" * 40, True), ("models--two", "2" * 40, False)):
        write_checkpoint(tmp_path / name / "snapshots" / commit)
        if main:
            (tmp_path / name / "refs").mkdir()
            (tmp_path / name / "refs/main").write_text(commit)
    (tmp_path / "models--x--none").mkdir()
    (tmp_path / "datasets--x--y").mkdir()
    found = [s if isinstance(s, Skip) else s.name for s in cached_repositories(tmp_path)]
    assert found == ["a/one", f"two@{'2' * 40}", Skip("x/none", "the local cache holds no snapshot of it")]
    with pytest.raises(SourceError, match="no Hugging Face cache"):
        list(cached_repositories(tmp_path / "nope"))


def test_against_the_base_and_the_draft(tmp_path: Path) -> None:
    """A matrix cut short shows against its base, another vocabulary against a draft model; equals show nothing."""
    base = write_checkpoint(tmp_path / "base", pad="<pad>", vocab_size=24)
    cut = write_checkpoint(tmp_path / "cut", pad="<pad>", vocab_size=16)
    assert "PAD105" not in {f.code for f in audit(cut).findings}
    found = audit(cut, base=base).findings
    assert [f.severity for f in found if f.code == "PAD105"] == ["error", "error"]
    assert "16 rows, the base has 24" in found[0].message
    assert list(found) == sorted(found, key=lambda f: ("error", "warning", "info").index(f.severity))
    drafted = {f.code: f.severity for f in audit(base, draft=cut).findings}
    assert drafted["PAD605"] == "warning"
    assert audit(base, base=base, draft=base).findings == audit(base).findings
    assert "PAD105" not in {f.code for f in audit(cut, base=base, ignore="PAD1").findings}
    with pytest.raises(SourceError, match="nope"):
        audit(cut, base=tmp_path / "nope")
