"""The hashes by which a hub names content."""

from __future__ import annotations

import hashlib


def git_oid(data: bytes) -> str:
    """The id that git gives to a file's content.

    >>> git_oid(b"hello\\n")
    'ce013625030ba8dba906f756967f9e9ca394464a'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def matches(data: bytes, digest: str) -> bool:
    """True when content has this hash: a git id (40 digits) or a sha256 (64)."""
    return (hashlib.sha256(data).hexdigest() if len(digest) == 64 else git_oid(data)) == digest
