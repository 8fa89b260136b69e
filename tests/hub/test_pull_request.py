"""Repairs by pull request: planned like a folder's, shown before, sent once."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
from server import Running
from test_local_hub import synthetic

from padfix.errors import StrategyError
from padfix.hub.errors import HubError
from padfix.hub.pull_request import propose
from padfix.hub.run import Options, audit_hub


def options(hub: Running, token: str | bool = "hf_reader") -> Options:
    return Options(
        endpoint=hub.url, token=token, cache=False, pause=0.01, timeout=10, requests=None, n_bytes=None
    )


def test_a_pull_request_repairs(hub: Running) -> None:
    """The branch of the pull request audits without the finding, and main is as it was."""
    name = synthetic("llama-reserved")
    before = {r.source: r for r in audit_hub([name], options(hub))}[name]
    assert "PAD001" in {f.code for f in before.findings}
    open_before = len(hub.ask("pulls").get(name, ()))
    with propose(name, options(hub)) as proposal:
        assert proposal
        assert len(hub.ask("pulls").get(name, ())) == open_before  # nothing is sent before open
        url = proposal.open(options(hub))
        description = proposal.description()
    pull = hub.ask("pulls")[name][-1]
    assert url.startswith(f"{hub.url}/{name}/discussions/")
    assert pull["title"] == proposal.title
    assert pull["description"].strip() == description.strip()
    assert "PAD001" in description and "```diff" in description and '+  "pad_token"' in description
    assert set(pull["files"]) <= {
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    assert json.loads(pull["files"]["config.json"])["pad_token_id"] == 511
    number = url.rpartition("/")[2]
    (after,) = audit_hub([f"{name}@refs/pr/{number}"], options(hub))
    assert "PAD001" not in {f.code for f in after.findings}
    (main,) = audit_hub([name], options(hub))
    assert main.findings == before.findings


def test_weights_are_not_downloaded(hub: Running) -> None:
    """Of safetensors only the header is fetched, by range."""
    name = synthetic("pad-is-eos")
    hub.reset()
    with propose(name, options(hub)):
        pass
    assert hub.stats()["repos"][name][2] < 300_000


def test_without_a_token(hub: Running) -> None:
    """The plan is shown without a token; opening needs one and says how to get it."""
    nobody = options(hub, False)
    with (
        propose(synthetic("llama-reserved"), nobody) as proposal,
        pytest.raises(HubError, match="hf auth login"),
    ):
        proposal.open(nobody)


def test_a_repository_that_moved_on(hub: Running) -> None:
    """Where main changed since it was read, the hub refuses and the words are passed on."""
    name = synthetic("gpt2-no-pad")
    with propose(name, options(hub), "eos") as proposal:
        stale = dataclasses.replace(proposal, revision="0" * 40)
        with pytest.raises(HubError, match=r"did not take the pull request \(412\)"):
            stale.open(options(hub))


def test_nothing_to_change(hub: Running) -> None:
    """A repository that is in order gives an empty proposal, and no pull request."""
    with propose(synthetic("bert"), options(hub)) as proposal:
        assert not proposal
        with pytest.raises(HubError, match="nothing to change"):
            proposal.open(options(hub))


def test_refusals_come_through(hub: Running) -> None:
    """What a strategy refuses, and what cannot be read, are their own errors."""
    with pytest.raises(StrategyError), propose(synthetic("gpt2-no-pad"), options(hub), "reserved"):
        pass
    with pytest.raises(HubError, match="gated"), propose(synthetic("gated"), options(hub)):
        pass
