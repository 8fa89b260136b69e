"""A local hub for the tests of this folder: one process per test session and worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from server import Running, running


def corpus_root() -> Path | None:
    """The folder of real tokenizers, where this checkout has one."""
    root = Path(os.environ.get("PADFIX_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "corpus")
    return root if (root / "index.json").is_file() else None


@pytest.fixture(scope="session")
def hub_process() -> Iterator[Running]:
    root = corpus_root()
    corpus = ("--corpus", str(root)) if root else ()
    with running("--synthetic", "1200", "--hostile", *corpus) as hub:
        yield hub


@pytest.fixture
def hub(hub_process: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Running:
    """The local hub without faults, and this process's huggingface_hub pointed at a cache of its own."""
    from huggingface_hub import constants

    hub_process.set(faults={}, latency=0, slow=1.0)
    hub_process.reset()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return hub_process
