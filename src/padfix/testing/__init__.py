"""Helpers for test suites: tiny models of every architecture, small real tokenizers, padding assertions.

>>> from padfix.testing import assert_pad_invisible, tiny_model, tiny_tokenizer
>>> bool(assert_pad_invisible(tiny_model("llama"), tiny_tokenizer(pad="<pad>")))
True
"""

from __future__ import annotations

from padfix.testing.assertions import assert_no_findings, assert_pad_invisible, assert_pad_safe
from padfix.testing.tiny import (
    CannotBuildError,
    architectures,
    is_tied,
    model_class,
    tiny_config,
    tiny_model,
)
from padfix.testing.tokenizers import CHAT_TEMPLATE, TEXTS, matching_tokenizer, tiny_tokenizer

__all__ = [
    "CHAT_TEMPLATE",
    "TEXTS",
    "CannotBuildError",
    "architectures",
    "assert_no_findings",
    "assert_pad_invisible",
    "assert_pad_safe",
    "is_tied",
    "matching_tokenizer",
    "model_class",
    "tiny_config",
    "tiny_model",
    "tiny_tokenizer",
]
