"""What every test shares: no network, one thread, the corpus of real tokenizers where it is present."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from real_tokenizers import CORPUS, corpus_index


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument ``corpus_name`` runs once per tokenizer of the corpus that loads."""
    if "corpus_name" in metafunc.fixturenames:
        names = [name for name, entry in corpus_index().items() if entry.get("loads")]
        if not names:
            skip = pytest.mark.skip(reason=f"no corpus of real tokenizers at {CORPUS}; set PADFIX_CORPUS")
            names = [pytest.param("none", marks=skip)]  # type: ignore[list-item]
        metafunc.parametrize("corpus_name", names)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real tokenizers; the test is skipped where it is not there."""
    if not (CORPUS / "index.json").is_file():
        pytest.skip(f"no corpus of real tokenizers at {CORPUS}; set PADFIX_CORPUS")
    return CORPUS


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two cores are shared by the test workers, and more threads make tiny models slower."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
