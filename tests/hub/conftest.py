"""A local hub for the tests of this folder: one process per test session and worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from server import Running, running

from real_tokenizers import corpus_root


@pytest.fixture(scope="session")
def hub_process() -> Iterator[Running]:
    root = corpus_root()
    corpus = ("--corpus", str(root)) if root else ()
    with running("--synthetic", "1200", "--hostile", *corpus) as hub:
        yield hub


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Requests to a local server are wanted here, with no token and no cache of the person who runs the tests."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("PADFIX_CACHE", str(tmp_path / "padfix-cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(hub_process: Running) -> Running:
    """The local hub, without faults and with empty counters."""
    hub_process.set(faults={}, latency=0, slow=1.0, resolve_cache=True)
    hub_process.reset()
    return hub_process
