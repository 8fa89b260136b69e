"""The three readers' law over HTTP, and what a repository may cost."""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
from server import Running
from test_local_hub import synthetic

from padfix.errors import SourceError
from padfix.hub.cache import BlobCache
from padfix.hub.client import Client
from padfix.hub.errors import LEFT_OUT, HubError
from padfix.hub.fetch import Fetcher, NotRead
from padfix.hub.file_list import RemoteFile, fetch_listing, parse_listing, split_name
from padfix.hub.source import BYTES, REQUESTS, HubSource
from padfix.hub.state import hub_findings, hub_state
from padfix.read.repo import read_repo
from padfix.read.source import FolderSource
from padfix.rules import TASKS, check
from padfix.types import PadState
from real_tokenizers import corpus_root

CORPUS = corpus_root()
FOLDERS = sorted(f"{p.parent.name}/{p.name}" for p in CORPUS.glob("*/*") if p.is_dir()) if CORPUS else []
needs_corpus = pytest.mark.skipif(CORPUS is None, reason="no corpus: set PADFIX_CORPUS")
# what a budget may leave unknown, as the default that stands for it
UNKNOWN = {"n_tokens": None, "max_id": None, "unk_emitted": None, "appends_eos": None}
GENERATION = {"generation_pad_id": None, "generation_eos_ids": ()}
# of these a part may be known; of the candidates the verdict on each that is
PARTLY = ("candidates", "specials")


@functools.cache
def folder_state(name: str) -> PadState | None:
    assert CORPUS is not None
    try:
        return read_repo(FolderSource(Path(CORPUS, name)))
    except SourceError:
        return None


def differences(a: PadState, b: PadState) -> dict[str, tuple[object, object]]:
    left, right = a.portable(), b.portable()
    pairs = ((f.name, getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    return {name: (x, y) for name, x, y in pairs if x != y}


@needs_corpus
@pytest.mark.parametrize("name", FOLDERS)
def test_same_state_as_the_folder(hub: Running, name: str) -> None:
    """Without a budget the hub gives the folder's portable state, whole; nothing is left unknown."""
    folder = folder_state(name)
    source = HubSource(Client(hub.url, False, timeout=20), name, requests=None, n_bytes=None)
    if folder is None:
        with pytest.raises(SourceError):
            hub_state(source)
        return
    assert differences(folder, hub_state(source)) == {}


@needs_corpus
@pytest.mark.parametrize("name", FOLDERS)
def test_same_facts_within_the_budget(hub: Running, name: str) -> None:
    """Within 4 requests over the wire and 300 kB what can be loaded is audited: pad, EOS, unk and BOS are the folder's, every
    other fact is the folder's or is said to be unknown, and nothing is found that the folder does not show."""
    hub.reset()
    folder = folder_state(name)
    source = HubSource(Client(hub.url, False, timeout=20), name)
    if folder is None:
        with pytest.raises(SourceError):
            hub_state(source)
    else:
        state = hub_state(source)
        for role in ("pad", "eos", "unk", "bos"):
            assert getattr(state, role) == getattr(folder, role), role
        found = differences(folder, state)
        allowed = {**UNKNOWN, **(GENERATION if "generation_config.json" in source.unread else {})}
        for fact in PARTLY:
            every, some = found.pop(fact, ((), ()))
            assert set(some) <= set(every), fact  # type: ignore[call-overload]
        assert {fact: pair for fact, pair in found.items() if pair[1] != allowed.get(fact, "never")} == {}
        assert not found or any(p.startswith(LEFT_OUT) for p in state.problems)
        for fact in ("pad_uses", "next_id", "pad_is_added", "backend_padding"):
            assert getattr(state, fact) in (getattr(folder, fact), None), fact
        assert set(state.pad_by_major) <= set(folder.pad_by_major)
        for task in TASKS:
            known = {(f.code, f.severity, f.key) for f in check(folder, task=task)}
            assert {(f.code, f.severity, f.key) for f in hub_findings(state, source, task=task)} <= known
    asked, followed, sent = hub.stats()["repos"][name]
    assert asked + followed <= REQUESTS == 4  # over the wire: redirects are requests too
    assert sent <= BYTES == 300_000


@needs_corpus
def test_most_findings_fit_the_budget(hub: Running) -> None:
    """The budget is of use: 95 of 100 findings of the corpus' folders are found within it."""
    found = every = 0
    for name in FOLDERS:
        folder = folder_state(name)
        if folder is None:
            continue
        source = HubSource(Client(hub.url, False, timeout=20), name)
        codes = {f.code for f in hub_findings(hub_state(source), source, task="training")}
        expected = {f.code for f in check(folder, task="training")}
        found, every = found + len(codes & expected), every + len(expected)
    assert found >= 0.95 * every > 0


def test_a_template_that_is_not_quoted(hub: Running) -> None:
    """A chat template that the file list does not quote costs no audit: it is there, and what it writes is not known."""
    client = Client(hub.url, False)
    listing = fetch_listing(client, synthetic("llama-reserved"))
    files = {**listing.files, "chat_template.jinja": RemoteFile("chat_template.jinja", 400_000, "0" * 40)}
    source = HubSource(client, listing.id, listing=dataclasses.replace(listing, files=files))
    state = hub_state(source)
    assert state.chat_template
    assert state.pad_uses is None
    assert state.candidates == ()
    assert f"{LEFT_OUT}chat_template.jinja" in state.problems
    assert "PAD001" in {f.code for f in hub_findings(state, source)}


def test_a_guess_finds_nothing(hub: Running) -> None:
    """What depends on a file that was not read is not found: a generation config may name the pad."""
    source = HubSource(Client(hub.url, False), synthetic("gpt2-no-pad"), requests=4)
    state = hub_state(source)
    source.unread = ()
    assert "PAD301" in {f.code for f in hub_findings(state, source)}
    source.unread = ("generation_config.json",)
    assert {f.code for f in hub_findings(state, source)} == {
        f.code for f in hub_findings(state, source) if f.code != "PAD301"
    }


def test_small_repository_is_whole(hub: Running) -> None:
    """A repository of small files loses nothing to the budget, and is verified by hash."""
    source = HubSource(Client(hub.url, False), synthetic("bert"))
    state = hub_state(source)
    assert source.completed is None
    assert state.n_tokens == 512
    assert state.pad is not None and state.pad.id == 3


def test_sharded_weights_within_the_budget(hub: Running) -> None:
    """Where requests are left, row counts come from the header of the shard that holds the embedding."""
    source = HubSource(Client(hub.url, False), synthetic("sharded"), requests=None, n_bytes=None)
    assert hub_state(source).input_rows == 512


def test_a_small_file_is_one_request(hub: Running) -> None:
    """The address that a hub redirects to is asked at once, with the query that its own redirect has."""
    client = Client(hub.url, False)
    hub_state(HubSource(client, synthetic("sharded"), requests=None, n_bytes=None))
    kinds = hub.stats()["kinds"]
    assert client.direct is True
    assert kinds["api"] == 1
    assert kinds["resolve"] == kinds["cdn"]  # only files in LFS are redirected
    assert client.traffic.tries + client.traffic.hops == sum(kinds.values())
    assert set(kinds) == {"api", "cache", "resolve", "cdn"}  # nothing that huggingface_hub asks for itself


def test_a_server_without_that_address(hub: Running) -> None:
    """A server that gives small files itself is asked the usual way from then on, and loses one request for it."""
    hub.set(resolve_cache=False)
    client = Client(hub.url, False)
    states = [hub_state(HubSource(client, synthetic(kind))) for kind in ("bert", "t5")]
    kinds = hub.stats()["kinds"]
    assert client.direct is False
    assert kinds["cache"] + kinds["api"] == 1 + len(states)
    hub.set(resolve_cache=True)
    assert states == [
        hub_state(HubSource(Client(hub.url, False), synthetic(kind))) for kind in ("bert", "t5")
    ]


def test_a_signed_address_serves_again(hub: Running) -> None:
    """The second range of a file in LFS goes to the hub's storage at once."""
    source = HubSource(Client(hub.url, False), synthetic("sharded"), requests=None, n_bytes=None)
    file = next(f for f in source.listing.files.values() if f.name.endswith(".safetensors"))
    fetcher = Fetcher(Client(hub.url, False), "x", source.listing)
    hub.reset()
    assert fetcher.cost(file) == 2
    fetcher.part(file, 0, 8)
    assert fetcher.cost(file) == 1
    fetcher.part(file, 8, 8)
    assert hub.stats()["kinds"] == {"resolve": 1, "cdn": 2}


def test_one_download_for_many(hub: Running, tmp_path: Path) -> None:
    """Repositories that share a large file download it once, also when they are audited at the same time."""
    if CORPUS is None:
        pytest.skip("no corpus: set PADFIX_CORPUS")
    listing = fetch_listing(Client(hub.url, False), "gpt2/gpt2-lenml")
    file = listing.files["tokenizer.json"]
    cache = BlobCache(tmp_path)
    hub.reset()
    with ThreadPoolExecutor(8) as pool:
        fetchers = [Fetcher(Client(hub.url, False), "x", listing, cache) for _ in range(8)]
        found = list(pool.map(lambda f: f.whole(file, file.size or 0), fetchers))
    assert len(set(found)) == 1
    assert hub.stats()["kinds"] == {"cache": 1}


def test_not_read_is_not_absent(hub: Running) -> None:
    """A budget of two requests leaves files unread; asking for one says so and does not spend more."""
    hub.reset()
    source = HubSource(Client(hub.url, False), synthetic("bert"), requests=2)
    with pytest.raises(NotRead, match="budget"):
        source.read("tokenizer.json", 10**6)
    with pytest.raises(HubError, match="is not in the repository"):
        source.read("nothing.json", 10**6)
    assert sum(hub.stats()["kinds"].values()) <= 2


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"sha": "x" * 40, "siblings": []},
        {"sha": None, "siblings": []},
        {"sha": "a" * 40, "siblings": None},
        {"sha": "a" * 40, "siblings": {"rfilename": "x"}},
        {"sha": "a" * 40, "siblings": [{"rfilename": "x"}] * 100_001},
    ],
)
def test_malformed_lists(info: dict[str, object]) -> None:
    """A file list without a commit or files is refused with its kind."""
    with pytest.raises(HubError) as caught:
        parse_listing(info, "org/name")
    assert caught.value.kind in ("broken-answer", "too-large")


def test_names_that_leave_the_repository_are_dropped() -> None:
    """No reader is handed a name with a step upwards, an absolute one, or one that does not print."""
    bad = ["../x", "/etc/passwd", "a/../../b", "", "x\n", "\x1b[31m", 3, None, "y" * 1001]
    siblings = [{"rfilename": name} for name in bad] + [
        {"rfilename": "config.json", "size": True, "blobId": 5},
        7,
        None,
    ]
    listing = parse_listing({"id": "org/name", "sha": "a" * 40, "siblings": siblings}, "org/name")
    assert set(listing.files) == {"config.json"}
    assert listing.files["config.json"].size is None
    assert listing.files["config.json"].digest is None


@pytest.mark.parametrize("spec", ["gpt2", "org/name", "org/name@main", "org/na.me-1_x@refs/pr/1"])
def test_names(spec: str) -> None:
    """Repository names with and without owner and revision."""
    name, revision = split_name(spec)
    assert spec == (name if revision is None else f"{name}@{revision}")
