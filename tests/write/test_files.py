"""Replacing several files as one step, killed at every moment."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from padfix.errors import SourceError
from padfix.write.files import JOURNAL, interrupted, recover, replace_files

OLD = {"config.json": b'{"old": 1}', "tokenizer.json": b"{}", "added_tokens.json": b'{"x": 1}'}
NEW: dict[str, bytes | None] = {
    "config.json": b'{"new": 2}',
    "tokenizer.json": b'{"new": 3}',
    "tokenizer_config.json": b'{"pad_token": "x"}',
    "added_tokens.json": None,
}

# Every file operation of Python raises an audit event before it happens: the n-th one kills the process.
KILLED = """
import os, signal, sys
from pathlib import Path
from padfix.write.files import replace_files, recover
folder, step, action = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
new = {name: None if text is None else text.encode() for name, text in eval(sys.argv[4]).items()}
count = 0
def hook(event, args):
    global count
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree") and str(folder) in str(args):
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
replace_files(folder, new) if action == "replace" else recover(folder)
print(count)
"""


def make(folder: Path) -> Path:
    folder.mkdir()
    for name, data in OLD.items():
        (folder / name).write_bytes(data)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run(folder: Path, step: int, action: str = "replace") -> subprocess.CompletedProcess[str]:
    new = repr({name: None if data is None else data.decode() for name, data in NEW.items()})
    command = [sys.executable, "-c", KILLED, str(folder), str(step), action, new]
    return subprocess.run(command, capture_output=True, text=True, check=False)


WHOLE_OLD = {**OLD, "model.safetensors": b"weights"}
WHOLE_NEW = {
    "config.json": b'{"new": 2}',
    "tokenizer.json": b'{"new": 3}',
    "tokenizer_config.json": b'{"pad_token": "x"}',
    "model.safetensors": b"weights",
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_step_the_folder_is_old_or_new(tmp_path: Path) -> None:
    """kill -9 before any file operation: after the next start every file is old, or every file is new.

    Before the decision every old byte is still there, without any recovery. Recovery may be killed too.
    """
    steps = int(run(make(tmp_path / "whole"), 0).stdout)
    assert content(tmp_path / "whole") == WHOLE_NEW
    assert steps > 10
    outcomes = []
    for step in range(1, steps + 1):
        folder = make(tmp_path / str(step))
        assert run(folder, step).returncode == -signal.SIGKILL
        decided = interrupted(folder)
        if not decided and (folder / JOURNAL).exists() and "added_tokens.json" in content(folder):
            assert content(folder) == WHOLE_OLD
        if step % 3 == 0:  # the recovery is killed as well
            run(folder, 2, "recover")
        recover(folder)
        found = content(folder)
        assert found in (WHOLE_OLD, WHOLE_NEW)
        assert (found == WHOLE_NEW) if decided else True
        assert not (folder / JOURNAL).exists()
        outcomes.append(found == WHOLE_NEW)
    assert outcomes == sorted(outcomes), "once decided, always new"
    assert set(outcomes) == {False, True}


def test_a_second_fix_finishes_the_first(tmp_path: Path) -> None:
    """The next `replace_files` recovers before it starts."""
    folder = make(tmp_path / "x")
    journal = folder / JOURNAL
    for step in range(1, 60):
        run(folder, step)
        if interrupted(folder):
            break
    assert journal.is_dir()
    replace_files(folder, {"generation_config.json": b"{}"})
    assert content(folder) == {**WHOLE_NEW, "generation_config.json": b"{}"}


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_ctrl_c_between_two_renames_comes_after_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """The write is decided by then: it is finished, nothing is left behind, and the interrupt goes on."""
    folder = make(tmp_path / "x")
    calls = 0
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == moved:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    if moved:
        with pytest.raises(KeyboardInterrupt):
            replace_files(folder, NEW)
    else:
        replace_files(folder, NEW)
    assert calls >= 3
    assert content(folder) == WHOLE_NEW
    assert not (folder / JOURNAL).exists()


def test_permissions_are_kept(tmp_path: Path) -> None:
    """A replaced file keeps its mode; a new one gets that of the files beside it."""
    folder = make(tmp_path / "x")
    for name in OLD:
        (folder / name).chmod(0o640)
    replace_files(folder, NEW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes["config.json"] == modes["tokenizer_config.json"] == 0o640


def test_only_known_files_are_written(tmp_path: Path) -> None:
    """Weights and paths are refused, whoever asks."""
    folder = make(tmp_path / "x")
    for name in ("model.safetensors", "../config.json", "/etc/passwd"):
        with pytest.raises(SourceError, match="will not write"):
            replace_files(folder, {name: b""})
    assert content(folder) == WHOLE_OLD


def test_a_link_is_not_replaced(tmp_path: Path) -> None:
    """A file that is a link is shared with somebody; the message names the way out, and nothing changes."""
    folder = make(tmp_path / "x")
    (folder / "config.json").unlink()
    (tmp_path / "shared.json").write_bytes(b"{}")
    (folder / "config.json").symlink_to(tmp_path / "shared.json")
    with pytest.raises(SourceError, match="-o NEW_FOLDER"):
        replace_files(folder, NEW)
    assert (tmp_path / "shared.json").read_bytes() == b"{}"
    assert (folder / "tokenizer.json").read_bytes() == OLD["tokenizer.json"]


@pytest.mark.parametrize(
    "manifest",
    [b"{", b"[]", b"\xff", b'{"../../evil": "0"}', b'{"model.safetensors": null}', b"[" * 100_000],
)
def test_a_planted_journal_does_nothing(tmp_path: Path, manifest: bytes) -> None:
    """A journal that came with a hostile repository writes and removes nothing, and the error says so."""
    folder = make(tmp_path / "x")
    (folder / JOURNAL).mkdir()
    (folder / JOURNAL / "manifest.json").write_bytes(manifest)
    with pytest.raises(SourceError, match="remove"):
        replace_files(folder, NEW)
    assert content(folder) == WHOLE_OLD


def test_a_planted_journal_cannot_move_other_content(tmp_path: Path) -> None:
    """A staged file whose content is not the manifest's is refused."""
    folder = make(tmp_path / "x")
    (folder / JOURNAL).mkdir()
    (folder / JOURNAL / "config.json").write_bytes(b"evil")
    (folder / JOURNAL / "manifest.json").write_bytes(json.dumps({"config.json": "0" * 64}).encode())
    with pytest.raises(SourceError, match="not what was written"):
        recover(folder)
    assert content(folder) == WHOLE_OLD


def test_two_fixes_at_once(tmp_path: Path) -> None:
    """The second one is refused while the first holds the folder."""
    fcntl = pytest.importorskip("fcntl")
    folder = make(tmp_path / "x")
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(SourceError, match="another fix"):
            replace_files(folder, NEW)
    finally:
        os.close(descriptor)
    assert content(folder) == WHOLE_OLD


def test_a_read_only_folder(tmp_path: Path) -> None:
    """A folder that cannot be written gives a sentence, and stays as it was."""
    folder = make(tmp_path / "x")
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(SourceError, match="cannot be written"):
        replace_files(folder, NEW)
    folder.chmod(0o700)
    assert content(folder) == WHOLE_OLD
