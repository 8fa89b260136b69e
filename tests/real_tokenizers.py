"""The corpus of real tokenizers, where it is present."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("PADFIX_CORPUS", ROOT.parent / "shared" / "corpus"))


def corpus_index() -> dict[str, Any]:
    """What `AutoTokenizer` gives for every folder of the corpus, empty where the corpus is not here."""
    index = CORPUS / "index.json"
    loaded: dict[str, Any] = json.loads(index.read_text("utf-8")) if index.is_file() else {}
    return loaded


def corpus_root() -> Path | None:
    """The folder of real tokenizers, or None where this checkout has none."""
    return CORPUS if (CORPUS / "index.json").is_file() else None
