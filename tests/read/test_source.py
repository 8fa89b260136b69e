"""Where files come from: folders, single files, and the local Hugging Face cache."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from padfix.errors import SourceError
from padfix.read.source import cached_repositories, cached_repository, kept_open, open_source


def snapshot(cache: Path, name: str, commit: str = "a" * 40, ref: str = "main") -> Path:
    """A repository as huggingface_hub lays it out: links from a snapshot into blobs."""
    root = cache / f"models--{name.replace('/', '--')}"
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "snapshots" / commit).mkdir(parents=True)
    (root / "blobs" / commit).write_text("{}", "utf-8")
    (root / "snapshots" / commit / "config.json").symlink_to(f"../../blobs/{commit}")
    (root / "refs" / ref).write_text(commit, "ascii")
    return root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_snapshot_may_link_into_its_own_blobs_only(cache: Path, tmp_path: Path) -> None:
    """Files of a snapshot are links; a link to another repository's blobs is refused."""
    root = snapshot(cache, "org/name")
    source = open_source("org/name")
    assert source.names() == ("config.json",)
    assert source.read("config.json", 100) == b"{}"
    other = snapshot(cache, "org/other")
    (root / "snapshots" / ("a" * 40) / "stolen.json").symlink_to(other / "blobs" / ("a" * 40))
    with pytest.raises(SourceError, match="link that leaves the folder"):
        cached_repository("org/name").read("stolen.json", 100)


def test_revisions_are_branches_tags_and_commits(cache: Path) -> None:
    """``@`` names a ref or the beginning of a commit; an unknown one is refused with the command to run."""
    root = snapshot(cache, "org/name", "a" * 40)
    snapshot(cache, "org/name", "b" * 40, "v1")
    assert (root / "snapshots" / ("b" * 40)).samefile(cached_repository("org/name", "v1").root)
    assert cached_repository("org/name", "bbbbbbb").root.name == "b" * 40
    with pytest.raises(SourceError, match="hf download org/name"):
        open_source("org/name@gone")
    with pytest.raises(SourceError, match="no snapshot"):
        cached_repository("org/name", "../../x")


def test_a_file_that_is_kept_open_is_closed(tmp_path: Path) -> None:
    """One descriptor within the block, none behind it, whatever happens there; other files are read meanwhile."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("only Linux lists what is open")
    (tmp_path / "a.json").write_bytes(b"0123456789")
    (tmp_path / "b.json").write_bytes(b"abc")
    source = open_source(str(tmp_path))
    before = len(list(descriptors.iterdir()))
    with pytest.raises(ZeroDivisionError), kept_open(source, "a.json"):
        assert len(list(descriptors.iterdir())) == before + 1
        assert source.size("a.json") == 10 and source.range("a.json", 7, 9) == b"789"
        assert source.range("a.json", 10, 5) == source.range("a.json", 99, 5) == b""
        with kept_open(source, "b.json"):
            assert source.range("b.json", 1, 1) == b"b" and source.range("a.json", 2, 1) == b"2"
        assert source.range("b.json", 0, 9) == b"abc" and source.range("a.json", 0, 1) == b"0"
        with pytest.raises(SourceError, match="from byte -1"):
            source.range("a.json", -1, 5)
        assert source.range("a.json", 0, 2) == b"01"
        1 / 0
    with pytest.raises(SourceError, match=r"gone\.json"), kept_open(source, "gone.json"):
        pass
    assert len(list(descriptors.iterdir())) == before


def test_threads_may_share_a_source(tmp_path: Path) -> None:
    """Each keeps its own file open: no bytes of another's, no descriptor closed under it, none left."""
    contents = {f"{i}.json": bytes([65 + i]) * (5000 + i) for i in range(4)}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    source = open_source(str(tmp_path))

    def read(i: int) -> bool:
        name = f"{i % 4}.json"
        with kept_open(source, name):
            ranges = [source.range(name, at, 100) for at in range(0, 5100, 100)]
        other = f"{(i + 1) % 4}.json"
        return b"".join(ranges) == contents[name] and source.range(other, 0, 9000) == contents[other]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, range(400)))
    finally:
        sys.setswitchinterval(interval)
    if Path("/proc/self/fd").is_dir():
        assert not [p for p in Path("/proc/self/fd").iterdir() if str(tmp_path) in os.path.realpath(p)]


def test_the_folder_is_the_one_that_the_system_opens(tmp_path: Path) -> None:
    """Two dots after a link lead to where the link's target is; a link turned elsewhere later changes nothing."""
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(name, "utf-8")
        (tmp_path / name / "other.json").write_text(name, "utf-8")
    link = tmp_path / "a" / "link"
    link.symlink_to(tmp_path / "b" / "sub")
    assert open_source(f"{link}/..").read("config.json", 9) == b"b"
    current = tmp_path / "current"
    current.symlink_to("a")
    source = open_source(str(current))
    assert source.read("config.json", 9) == b"a"
    current.unlink()
    current.symlink_to("b")
    assert source.read("other.json", 9) == b"a"


def test_a_folder_is_the_same_one_after_its_program_went_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path counts from where it was opened; a folder that is a link itself is read like any other."""
    real = tmp_path / "real"
    (real / "elsewhere").mkdir(parents=True)
    (real / "config.json").write_text("{}", "utf-8")
    (real / "other.json").symlink_to("config.json")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    source = open_source("link")
    monkeypatch.chdir(real / "elsewhere")
    assert source.read("config.json", 9) == source.read("other.json", 9) == b"{}"
    assert source.name == "link" and source.names() == ("config.json", "elsewhere", "other.json")


def test_the_cache_lists_its_models(cache: Path) -> None:
    """Data sets and spaces are left out."""
    snapshot(cache, "org/name")
    snapshot(cache, "gpt2")
    (cache / "datasets--org--data").mkdir()
    assert cached_repositories() == ("gpt2", "org/name")


@pytest.mark.parametrize("spec", ["no/such", "gone", "../up", "a b", "x" * 5000, "nul\0l"])
def test_what_names_nothing_is_refused(cache: Path, spec: str) -> None:
    """A name that is neither a path nor a cached repository says where it was looked for."""
    with pytest.raises(SourceError):
        open_source(spec)


def test_a_folder_wins_over_a_repository_of_its_name(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in transformers, a path that exists is not looked up in the cache."""
    snapshot(cache, "gpt2")
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "local.txt").write_text("x", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert open_source("gpt2").names() == ("local.txt",)


def test_ranges_and_limits(tmp_path: Path) -> None:
    """A range ends where the file does; a whole file over the limit is refused."""
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    source = open_source(tmp_path)
    assert source.range("a.bin", 90, 50) == bytes(range(90, 100))
    assert source.range("a.bin", 200, 5) == b""
    assert source.size("a.bin") == 100
    with pytest.raises(SourceError, match="100 bytes, more than the 99"):
        source.read("a.bin", 99)


def test_templates_are_the_only_subfolder(tmp_path: Path) -> None:
    """Files of other subfolders are not part of a repository here."""
    for name in ("additional_chat_templates", "onnx"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jinja").write_text("x", "utf-8")
    assert "additional_chat_templates/x.jinja" in open_source(tmp_path).names()
    assert "onnx/x.jinja" not in open_source(tmp_path).names()
