"""Listings, surveys, and the tables of a whole run."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
import hub_repositories as hr
from server import Running

from padfix.hub.client import Client
from padfix.hub.errors import HubError
from padfix.hub.listing import Query, entries, names
from padfix.hub.survey import HINT, survey, survey_one, surveyed
from padfix.render.summary import Summary, kind_of
from padfix.types import Finding, PadState, Report, Skip, Token

PUBLIC = {hr.synthetic_id(i): hr.synthetic_kind(i) for i in range(1200) if hr.synthetic_kind(i) != "private"}


def test_names_are_complete(hub: Running) -> None:
    """Every public repository is listed once, a thousand per request."""
    hub.reset()
    found = [n for n in names(Client(hub.url, False), Query()) if n.startswith("org-")]
    assert sorted(found) == sorted(PUBLIC)
    assert hub.stats()["kinds"] == {"api": 2}


def test_queries(hub: Running) -> None:
    """Author, words, tags, order and limit are the hub's to apply; the limit is kept here."""
    client = Client(hub.url, False)
    assert set(names(client, Query(author="org-07"))) == {n for n in PUBLIC if n.startswith("org-07/")}
    assert list(names(client, Query(search="model-00008"))) == ["org-08/model-00008"]
    assert set(names(client, Query(filters=("t5", "transformers"), author="org-01"))) <= {
        n for n, k in PUBLIC.items() if k == "t5"
    }
    top = list(entries(client, Query(sort="downloads", limit=5), ("downloads",)))
    assert len(top) == 5
    assert [e["downloads"] for e in top] == sorted((e["downloads"] for e in top), reverse=True)
    assert len(list(names(client, Query(limit=1001)))) == 1001


def test_survey_costs_one_request_per_thousand(hub: Running) -> None:
    """A survey of 1,200 repositories is two requests, and says of each finding that it is a hint."""
    hub.reset()
    reports = {r.source: r for r in survey(Client(hub.url, False), Query()) if r.source in PUBLIC}
    assert hub.stats()["kinds"] == {"api": 2}
    assert set(reports) == set(PUBLIC)
    for name, kind in PUBLIC.items():
        codes = {f.code for f in reports[name].findings}
        if kind == "gpt2-no-pad":
            assert codes == {"PAD001"}
        elif kind == "pad-is-eos":
            assert codes == {"PAD002"}
        elif kind == "bert":
            assert codes == set()
        for finding in reports[name].findings:
            assert finding.severity == "info"
            assert finding.message.startswith("hint: ")
        if reports[name].state is not None:
            assert Skip(name, HINT) in reports[name].skipped


def test_survey_of_a_name(hub: Running) -> None:
    """A named repository is surveyed with one request; one that is not there is a typed skip."""
    hub.reset()
    name = next(n for n, k in PUBLIC.items() if k == "pad-is-eos")
    assert survey_one(Client(hub.url, False), name).findings[0].code == "PAD002"
    assert sum(hub.stats()["kinds"].values()) == 1
    assert survey_one(Client(hub.url, False), "no/such").skipped[0].reason.startswith("not-found: ")


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "a/b"},
        {"id": "a/b", "config": []},
        {"id": "a/b", "config": {"tokenizer_config": "x"}},
        {
            "id": "a/b",
            "config": {
                "tokenizer_config": {"pad_token": [1], "eos_token": {"content": 5}},
                "architectures": "x",
            },
        },
        {"id": "a/b", "config": {"tokenizer_config": {"pad_token": "x" * 10**6}, "model_type": 5}, "sha": 7},
    ],
)
def test_hostile_entries(entry: dict[str, object]) -> None:
    """Entries of any shape become a report, bounded in size."""
    assert len(json.dumps(surveyed(entry).to_dict())) < 5000


class _Pages(http.server.BaseHTTPRequestHandler):
    pages: list[tuple[bytes, str]]

    def do_GET(self) -> None:
        body, link = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        self.send_response(200)
        if link:
            self.send_header("Link", link.replace("HOST", f"http://{self.headers['Host']}"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[tuple[Client, list[tuple[bytes, str]]]]:
    handler = type("Handler", (_Pages,), {"pages": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield (
            Client(
                f"http://127.0.0.1:{server.server_address[1]}", "hf_secret", pause=0.001, tries=2, timeout=5
            ),
            handler.pages,
        )  # type: ignore[attr-defined]
        server.shutdown()


def test_pages_that_go_round(pages: tuple[Client, list[tuple[bytes, str]]]) -> None:
    """A next page that was read already ends the listing with an error, not a loop."""
    client, given = pages
    given[:] = [(b'[{"id": "a/b"}]', '<HOST/api/models?cursor=1>; rel="next"')]
    with pytest.raises(HubError, match="lead back"):
        list(names(client, Query()))


def test_next_page_elsewhere(pages: tuple[Client, list[tuple[bytes, str]]]) -> None:
    """A next page on another host is asked of the hub itself, so the token stays."""
    client, given = pages
    given[:] = [
        (b'[{"id": "a/b"}]', '<http://evil.invalid/api/models?cursor=1>; rel="next"'),
        (b'[{"id": "a/c"}]', ""),
    ]
    assert list(names(client, Query())) == ["a/b", "a/c"]


@pytest.mark.parametrize("body", [b"{}", b"x", b"[" * 100_000, b'"x"'])
def test_malformed_page(pages: tuple[Client, list[tuple[bytes, str]]], body: bytes) -> None:
    """A page that is no list is an error of its kind."""
    client, given = pages
    given[:] = [(body, "")]
    with pytest.raises(HubError) as caught:
        list(names(client, Query()))
    assert caught.value.kind == "broken-answer"


def test_hostile_ids_in_a_page(pages: tuple[Client, list[tuple[bytes, str]]]) -> None:
    """What is no repository name is left out of a listing."""
    client, given = pages
    ids = ["../x", "a/b/c", 5, None, "a b", "\x1b[31m", "a/b@main", "good/one"]
    given[:] = [(json.dumps([{"id": i} for i in ids] + [7, []]).encode(), "")]
    assert list(names(client, Query())) == ["good/one"]


def test_summary() -> None:
    """Families, rules, kinds of skips and the worst are counted; names cannot steer a terminal."""
    summary = Summary()
    eos = Token("</s>", 2)
    error = Finding("PAD101", "pad-id-out-of-range", "error", "x")
    note = Finding("PAD301", "mask-not-inferable", "info", "x")
    for n in range(30):
        pad = eos if n % 3 == 0 else Token("<pad>", 3) if n % 3 == 1 else None
        summary.add(
            Report(f"org/{n}", PadState(model_type="llama", pad=pad, eos=eos), (error,) * (n % 4) + (note,))
        )
    summary.add(Report("org/evil", PadState(model_type="\x1b[31mred"), ()))
    summary.add(Report("org/gated", None, (), (Skip("org/gated", "gated: org/gated: log in"),)))
    assert summary.repositories == 32
    assert summary.families["llama"] == {"eos": 10, "own": 10, "none": 10}
    assert summary.rules[("PAD101", "pad-id-out-of-range")] == {"error": 22}
    assert summary.skipped == {"gated": 1}
    assert [worst[1] for worst in summary.worst[:3]] == [3, 3, 3]
    text = summary.text()
    assert "\x1b" not in text
    assert "32 repositories: 31 audited, 1 skipped" in text
    assert "PAD101" in text and "gated" in text


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("gated: x", "gated"), ("no colon", "other"), ("http://x", "http"), ("a b: c", "other")],
)
def test_kinds(reason: str, kind: str) -> None:
    """The kind of a skip is the word before its first colon."""
    assert kind_of(reason) == kind
