"""The command as a user runs it: in this process where that is enough (10 ms), else in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from checkpoints import write_checkpoint
from padfix.cli.main import main

UNSET = ("NO_COLOR", "FORCE_COLOR", "CI", "GITHUB_ACTIONS")


@dataclass(frozen=True)
class Shown:
    """What a run printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def checkpoint() -> Callable[..., Path]:
    """Write a small checkpoint into a folder."""
    return write_checkpoint


@pytest.fixture
def padfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shown]:
    """Run ``padfix`` with these arguments in an empty folder; None as a variable's value unsets it."""

    def run(*arguments: str | Path, stdin: str = "", **env: str | None) -> Shown:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["padfix", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            for name, value in {**dict.fromkeys(UNSET), **env}.items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            with pytest.raises(SystemExit) as leaving:
                main()
        code = leaving.value.code
        assert isinstance(code, int)
        return Shown(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Shown]:
    """The same in a process of its own."""

    def run(*arguments: str | Path, **env: str | None) -> Shown:
        environment = {k: v for k, v in {**os.environ, **env}.items() if v is not None and k not in UNSET}
        code = "from padfix.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
            encoding="latin-1",
        )
        return Shown(done.returncode, done.stdout, done.stderr)

    return run
