"""The cache of content by hash: whole or not at all, for any number of writers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from padfix.hub.cache import BlobCache, default_folder

DIGEST = "a" * 40


def test_round_trip_and_parts(tmp_path: Path) -> None:
    """Content and its parts are kept apart; what is not there is None."""
    cache = BlobCache(tmp_path)
    assert cache.get(DIGEST, None) is None
    cache.put(DIGEST, None, b"whole")
    cache.put(DIGEST, (0, 2), b"wh")
    assert cache.get(DIGEST, None) == b"whole"
    assert cache.get(DIGEST, (0, 2)) == b"wh"
    assert cache.get(DIGEST, (0, 3)) is None


def test_damage_is_a_miss(tmp_path: Path) -> None:
    """A torn, emptied or edited entry is fetched again, not served."""
    cache = BlobCache(tmp_path)
    cache.put(DIGEST, None, b"content")
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    good = path.read_bytes()
    for bad in (b"", good[:-1], good[:10], good[:-1] + b"X"):
        path.write_bytes(bad)
        assert cache.get(DIGEST, None) is None


def test_many_writers(tmp_path: Path) -> None:
    """Threads that write the same entry leave one good one and no litter."""
    cache = BlobCache(tmp_path)
    threads = [threading.Thread(target=cache.put, args=(DIGEST, None, b"x" * 100_000)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get(DIGEST, None) == b"x" * 100_000
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def test_no_disk_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One audit adds no more than its bound, and nothing where little is left on the disk."""
    monkeypatch.setattr("padfix.hub.cache._MOST", 250)
    cache = BlobCache(tmp_path)
    for key in "abcd":
        cache.put(key * 40, None, b"x" * 100)
    assert [cache.get(key * 40, None) is not None for key in "abcd"] == [True, True, False, False]
    monkeypatch.setattr("padfix.hub.cache._FREE", 2**60)
    other = BlobCache(tmp_path)
    other.put("e" * 40, None, b"x")
    assert other.get("e" * 40, None) is None


def test_unwritable(tmp_path: Path) -> None:
    """Where nothing can be kept, nothing fails."""
    (tmp_path / "blobs").write_text("a file where a folder belongs")
    cache = BlobCache(tmp_path)
    cache.put(DIGEST, None, b"x")
    assert cache.get(DIGEST, None) is None


def test_folder(monkeypatch: object, tmp_path: Path) -> None:
    """PADFIX_CACHE moves it."""
    assert default_folder() == tmp_path / "padfix-cache"
