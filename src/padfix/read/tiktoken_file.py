"""Tiktoken vocabularies: one base64 token and its rank a line."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from padfix.errors import SourceError

MAX_TIKTOKEN: Final = 64 * 2**20  # bytes; o200k has 3.6 MB
_PRINTABLE: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def byte_signs() -> dict[int, str]:
    """GPT-2's printable sign for each byte."""
    signs = {b: chr(b) for b in _PRINTABLE}
    rest = (b for b in range(256) if b not in signs)
    return signs | {b: chr(256 + n) for n, b in enumerate(rest)}


def parse_tiktoken(data: bytes, source: str, name: str) -> dict[str, int]:
    """Token (in GPT-2's signs) -> rank; `SourceError` where a line is something else."""
    signs = byte_signs()
    found: dict[str, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            raw, token_id = base64.b64decode(token, validate=True), int(rank[:12])
        except (ValueError, binascii.Error) as error:
            raise SourceError(
                f"{source}: line {number} of {name} is not a base64 token and a rank"
            ) from error
        if token_id < 0:
            raise SourceError(f"{source}: line {number} of {name} has the rank {token_id}")
        found["".join(map(signs.__getitem__, raw))] = token_id
    if not found:
        raise SourceError(f"{source}: {name} holds no token")
    return found
