"""With huggingface_hub below 1, which transformers 4 needs, a network audit says so and stops."""

from __future__ import annotations

import importlib.metadata

import pytest

from padfix.errors import MissingDependencyError
from padfix.hub.client import Client, require_hub


def test_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the version found and both ways out; nothing is sent."""
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: "0.36.2" if n == "huggingface_hub" else real(n)
    )
    with pytest.raises(
        MissingDependencyError, match=r"huggingface_hub >= 1, and 0\.36\.2 is installed.*transformers 5"
    ):
        Client("http://127.0.0.1:9")


def test_as_installed() -> None:
    """The check agrees with what is really installed here."""
    if int(importlib.metadata.version("huggingface_hub").split(".")[0]) < 1:
        with pytest.raises(MissingDependencyError):
            require_hub()
    else:
        require_hub()
