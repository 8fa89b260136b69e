"""The client: bounded, checked, patient, and its token goes nowhere but to the hub."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
from server import Running

from padfix.errors import SourceError
from padfix.hub.client import Client
from padfix.hub.errors import HubError
from padfix.hub.hashes import git_oid, matches
from padfix.hub.source import HubSource

TOKEN = "hf_reader"


def client(hub: Running, token: str | bool = False, **how: float) -> Client:
    return Client(hub.url, token, **{"pause": 0.01, "timeout": 2, "tries": 4, **how})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ("endless", "too-large", "more than"),
        ("gzip-bomb", "too-large", "more than"),
        ("redirect-loop", "broken-answer", "more than 5 redirects"),
        ("redirect-file", "broken-answer", "'file' is not followed"),
        ("lying-short", "unavailable", "after 4 tries"),
        ("lying-long", "broken-answer", "bytes where the file list says"),
        ("wrong-content", "broken-answer", "not the content with hash"),
        ("wrong-range", "broken-answer", "status 206"),
        ("html", "broken-answer", "bytes where the file list says"),
        ("header-bomb", "unavailable", "after 4 tries"),
        ("endless-info", "too-large", "more than 8,388,608 bytes"),
        ("gzip-bomb-info", "too-large", "more than 8,388,608 bytes"),
        ("deep-info", "broken-answer", "not JSON"),
        ("scalar-info", "broken-answer", "not a JSON object"),
        ("info-loop", "broken-answer", "redirects"),
        ("bad-status", "broken-answer", "status 299"),
        ("slow-drip", "unavailable", "no end after"),
    ],
)
def test_hostile_server(hub: Running, behaviour: str, kind: str, words: str) -> None:
    """Whatever a server does, the answer is a typed error, soon, and with bounded traffic."""
    started = time.monotonic()
    how = {"timeout": 0.5} if behaviour == "slow-drip" else {}
    asking = client(hub, **how)
    with pytest.raises(HubError, match=words) as caught:
        HubSource(asking, f"hostile/{behaviour}").plan()
    assert caught.value.kind == kind
    assert isinstance(caught.value, SourceError)
    assert time.monotonic() - started < 10
    assert asking.traffic.bytes < 20_000_000


@pytest.mark.parametrize("behaviour", ["redirect-elsewhere", "ignores-range", "no-etag"])
def test_odd_but_honest_server(hub: Running, behaviour: str) -> None:
    """Another host, whole files for ranges, missing ETags: content is right by its hash, so it is taken."""
    source = HubSource(client(hub, TOKEN), f"hostile/{behaviour}")
    source.plan()
    assert {"config.json", "tokenizer_config.json", "tokenizer.json"} <= source._known.keys()


def test_token_stays_at_the_hub(hub: Running) -> None:
    """A redirect to another host does not carry the token; the hub itself receives it."""
    hub.reset()
    HubSource(client(hub, TOKEN), "hostile/redirect-elsewhere").plan()
    stats = hub.stats()
    assert stats["kinds"]["cdn"] >= 3
    assert stats["cdn_tokens"] == []


def test_token_is_not_shown(hub: Running) -> None:
    """No repr and no message holds the token."""
    asking = client(hub, "hf_secret_secret")
    assert "hf_secret" not in repr(asking)
    with pytest.raises(HubError) as caught:
        HubSource(asking, "no/such")
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert "hf_secret" not in shown


def test_refusals_are_typed(hub: Running) -> None:
    """Gated, private, deleted, disabled, a wrong revision: each has its kind and says what to do."""
    from test_local_hub import synthetic

    def kind(spec: str, token: str | bool = False) -> tuple[str, str]:
        with pytest.raises(HubError) as caught:
            HubSource(client(hub, token), spec).plan()
        return caught.value.kind, str(caught.value)

    assert kind(synthetic("gated"))[0] == kind(synthetic("gated"), TOKEN)[0] == "gated"
    assert "hf auth login" in kind(synthetic("gated"))[1]
    assert "conditions" in kind(synthetic("gated"), TOKEN)[1]
    assert kind(synthetic("private"))[0] == kind(synthetic("private"), TOKEN)[0] == "not-found"
    assert kind("no/such", TOKEN)[0] == kind("no/such")[0] == "not-found"
    assert kind(synthetic("disabled"))[0] == "disabled"
    assert kind(f"{synthetic('bert')}@v9")[0] == "no-revision"
    for spec in (
        "../etc/passwd",
        "a/b/c",
        "",
        "a b/c",
        "org/..",
        "org/name@../../x",
        "org/name?x=1",
        "x" * 5000,
    ):
        assert kind(spec)[0] == "not-found"
    HubSource(client(hub, "hf_owner"), synthetic("private")).plan()


def test_transient_faults_pass(hub: Running) -> None:
    """With a tenth of all requests failing in each of six ways, patience gets every file."""
    from test_local_hub import synthetic

    kinds = ("429", "500", "reset", "slow", "truncated", "malformed")
    hub.set(faults=dict.fromkeys(kinds, 0.08), seed=5, slow=0.05)
    asking = client(hub, tries=25, timeout=5)
    for kind in ("bert", "sharded", "gpt2-no-pad", "pad-is-eos"):
        source = HubSource(asking, synthetic(kind), requests=None, n_bytes=None)
        assert source.read("tokenizer.json", 10**6).startswith(b"{")
        source.read("config.json", 10**6)
    assert asking.traffic.tries > asking.traffic.requests


class _Scripted(http.server.BaseHTTPRequestHandler):
    """Answers 429 as its script says, then 200."""

    script: list[dict[str, str]]
    times: list[float]

    def do_GET(self) -> None:
        self.times.append(time.monotonic())
        if self.script:
            self.send_response(429)
            for name, value in self.script.pop(0).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[tuple[str, type[_Scripted]]]:
    handler = type("Handler", (_Scripted,), {"script": [], "times": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 1.5),
        ({"Retry-After": "1"}, 1.0),
        ({}, 0.0),
    ],
)
def test_the_servers_wait_is_kept(
    scripted: tuple[str, type[_Scripted]], headers: dict[str, str], least: float
) -> None:
    """429 with RateLimit or Retry-After: no request comes before that time, from any thread."""
    url, handler = scripted
    handler.script[:] = [headers]
    asking = Client(url, False, pause=0.01, timeout=5)
    threads = [
        threading.Thread(target=asking.get, args=(f"{url}/api/x",), kwargs={"what": "x", "limit": 10})
        for _ in range(4)
    ]
    threads[0].start()
    time.sleep(0.2)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(20)
    first, *rest = sorted(handler.times)
    assert len(rest) == 4
    assert rest[0] - first >= least


def test_many_429_end(scripted: tuple[str, type[_Scripted]]) -> None:
    """A server that only ever says 429 is given up on, with the reason."""
    url, handler = scripted
    handler.script[:] = [{}] * 100
    with pytest.raises(HubError, match="429") as caught:
        Client(url, False, pause=0.001, timeout=5, tries=3).get(f"{url}/x", what="x", limit=10)
    assert caught.value.kind == "rate-limited"
    assert len(handler.times) == 3


def test_stop_ends_a_wait(scripted: tuple[str, type[_Scripted]]) -> None:
    """Ctrl-C does not wait for the 300 s that a server asked for."""
    url, handler = scripted
    handler.script[:] = [{"Retry-After": "300"}]
    asking = Client(url, False, timeout=5)
    threading.Timer(0.3, asking.stop.set).start()
    started = time.monotonic()
    with pytest.raises(HubError, match="interrupted"):
        asking.get(f"{url}/x", what="x", limit=10)
    assert time.monotonic() - started < 5


def test_no_server() -> None:
    """A hub that is not there is a typed error after two tries, which says what to do without a network."""
    client = Client("http://127.0.0.1:9", False, pause=0.001, timeout=1)
    with pytest.raises(HubError, match=r"cannot be reached.*HF_HUB_OFFLINE=1.*after 2 tries") as caught:
        client.get("http://127.0.0.1:9/x", what="x", limit=9)
    assert caught.value.kind == "unavailable"
    client.heard = True  # a hub that answered before and is gone now may come back
    with pytest.raises(HubError, match="after 6 tries"):
        client.get("http://127.0.0.1:9/x", what="x", limit=9)


def test_offline(hub: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is obeyed and named."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        HubSource(client(hub), "org-00/model-00000")


@pytest.mark.parametrize("endpoint", ["ftp://x", "huggingface.co", "file:///etc", "http://"])
def test_wrong_endpoint(endpoint: str) -> None:
    """An endpoint that is no web address is refused before anything is sent."""
    with pytest.raises(SourceError, match="HF_ENDPOINT"):
        Client(endpoint, False)


def test_hashes() -> None:
    """git's own id of an empty file, and sha256, are told apart by length."""
    assert git_oid(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert matches(b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    assert matches(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert not matches(b"x", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
