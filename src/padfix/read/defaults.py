"""The generated tables: what the classes of transformers have when a repository says nothing.

``scripts/generate_defaults.py`` observes them under each supported major; a test fails when they drift.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import metadata, resources
from typing import Any, Final

MAJORS: Final = ("4", "5")
NEWEST: Final = "5"


@functools.cache
def _table(name: str) -> dict[str, Any]:
    raw = json.loads(resources.files("padfix").joinpath(f"data/{name}").read_text("utf-8"))
    majors: dict[str, Any] = raw["majors"]
    return majors


def tokenizers(major: str) -> Mapping[str, Any]:
    """Which class AutoTokenizer picks and what each class starts with."""
    found: Mapping[str, Any] = _table("tokenizer_defaults.json")[major]
    return found


def tokenizer_class(major: str, name: str) -> Mapping[str, Any] | None:
    """The record of one tokenizer class."""
    found: Mapping[str, Any] | None = tokenizers(major)["classes"].get(name)
    return found


def configs(major: str) -> Mapping[str, Any]:
    """Model type -> the token ids of its configuration class."""
    found: Mapping[str, Any] = _table("config_defaults.json")[major]
    return found


@functools.cache
def installed_major() -> str:
    """The major of the installed transformers, without importing it; the newest where there is none.

    >>> installed_major() in MAJORS
    True
    """
    try:
        major = metadata.version("transformers").split(".")[0]
    except metadata.PackageNotFoundError:
        return NEWEST
    return major if major in MAJORS else NEWEST
