"""Which existing tokens may serve as pad, with the evidence for and against each.

`assess` is pure: a `TokenTable` (what reading a tokenizer gives, live or from files) and the ids that
carry meaning go in, candidates with their evidence come out. Both readers call it, so both give the
same answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from padfix.types import Candidate, Token

ModelKind = Literal["BPE", "WordPiece", "Unigram", "WordLevel", "other"]


@dataclass(frozen=True, slots=True)
class AddedToken:
    """An entry of the tokenizer's added-token table, which is matched before the model runs."""

    text: str
    id: int
    special: bool = False
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class TokenTable:
    """A tokenizer's vocabulary and how it is reached, before any judgement.

    ``vocab`` maps every token string to its id, added tokens included. A reader that did not read the
    whole vocabulary (a 17 MB file over a network) leaves the uninteresting entries out: only strings
    that `interesting` accepts, and the special tokens, matter here.
    """

    vocab: Mapping[str, int]
    added: tuple[AddedToken, ...] = ()
    model_kind: ModelKind = "other"
    byte_fallback: bool = False  # all 256 <0x..> tokens are there and the model uses them
    byte_level: bool = False  # every byte has a token, so nothing is unknown
    model_unk: str | None = None  # the model's own unk_token; None: it drops what it does not know
    folding: bool = False  # the normaliser folds case, width or accents
    template_ids: frozenset[int] = frozenset()  # ids that the post-processor puts around a text
    chat_templates: tuple[str, ...] = ()


PAD_NAMES: Final = ()
RESERVED_NAMES: Final = ()
