"""A run over many repositories loses none, repeats none, and says the same after being killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
import hub_repositories as hr
from server import Running, running

from padfix.hub.errors import HubError
from padfix.hub.ledger import read_lines
from padfix.hub.listing import Query, names
from padfix.hub.run import Options, audit_hub
from padfix.types import Report, Skip

JOB = Path(__file__).with_name("audit_job.py")
KINDS = {
    "gated",
    "disabled",
    "unreadable",
    "not-found",
    "unavailable",
    "broken-answer",
    "over-budget",
    "rate-limited",
}


def options(hub: Running, **how: object) -> Options:
    base: dict[str, object] = {"token": False, "pause": 0.01, "timeout": 5, "cache": False, "concurrency": 8}
    return Options(endpoint=hub.url, **{**base, **how})  # type: ignore[arg-type]


def listed(n: int, seed: int = 0) -> set[str]:
    return {hr.synthetic_id(i) for i in range(n) if hr.synthetic_kind(i, seed) != "private"}


def stable(report: dict[str, object]) -> object:
    """A report, or that it was skipped for what may pass: which of those a run meets is luck."""
    skipped = report["skipped"]
    assert isinstance(skipped, list)
    if report["state"] is None and skipped[0]["reason"].split(":")[0] in (
        "unavailable",
        "broken-answer",
        "rate-limited",
    ):
        return "transient"
    return report


@pytest.fixture(scope="module")
def faulty() -> list[str]:
    return ["--fault-rate", "0.05", "--slow", "0.2", "--seed", "11"]


def test_every_repository_ends_once(faulty: list[str]) -> None:
    """1,000 repositories with 5 % faults of each of six kinds: each is one report or one typed skip."""
    with running("--synthetic", "1000", *faulty) as hub:
        asking = options(hub, tries=10)
        client = asking.client()
        reports = list(audit_hub(names(client, Query()), asking, client=client))
        seen = Counter(report.source for report in reports)
        assert set(seen) == listed(1000, 11)
        assert set(seen.values()) == {1}
        for report in reports:
            if report.state is None:
                assert report.skipped[0].reason.split(":")[0] in KINDS, report.skipped
        audited = sum(report.state is not None for report in reports)
        assert audited > 0.93 * len(reports)
        stats = hub.stats()
        assert all(
            stats["kinds"].get(f"fault-{kind}", 0) > 20
            for kind in ("429", "500", "reset", "slow", "truncated", "malformed")
        )


def test_faults_change_no_report() -> None:
    """What is reported of a repository is the same with and without faults on the way."""
    with running("--synthetic", "60", "--seed", "3", "--slow", "0.05") as hub:
        asking = options(hub, tries=20)
        specs = sorted(listed(60, 3))
        calm = {r.source: r for r in audit_hub(specs, asking)}
        hub.set(faults=dict.fromkeys(("429", "500", "reset", "slow", "truncated", "malformed"), 0.05))
        rough = {r.source: r for r in audit_hub(specs, asking)}
        assert calm == rough


def killed_and_resumed(hub: Running, path: Path, kills: int, seed: int, patience: float) -> list[str]:
    """Run the job, killing it ``kills`` times at random moments; the last run's output."""
    luck = random.Random(seed)
    env = {**os.environ, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, str(JOB), hub.url, str(path), "--resume"]
    for _ in range(kills):
        # not before it has begun, which takes a second on a loaded machine
        before = path.stat().st_size if path.exists() else 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if path.exists() and path.stat().st_size > before:
                    break
                time.sleep(0.005)
            time.sleep(luck.random() * patience)
            process.kill()
        if luck.random() < 0.5 and path.exists():
            with path.open("ab") as file:  # a kill in the middle of a line
                file.write(b'{"schema": 1, "source": "org-00/mod')
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=env)
    assert done.stdout.startswith("DONE"), done.stderr
    return done.stdout.split()[1:]


def assert_complete(path: Path, wanted: set[str]) -> dict[str, object]:
    records = list(read_lines(path))
    seen = Counter(record["source"] for record in records)
    assert set(seen) == wanted
    assert set(seen.values()) == {1}
    return {record["source"]: stable(record) for record in records}


def test_killed_and_resumed(tmp_path: Path, faulty: list[str]) -> None:
    """Killed with SIGKILL three times and resumed, 300 repositories give the results of one quiet run."""
    with running("--synthetic", "300", *faulty) as hub:
        killed_and_resumed(hub, tmp_path / "killed.jsonl", 3, 1, 0.6)
        hub.reset()
        killed_and_resumed(hub, tmp_path / "quiet.jsonl", 0, 1, 0)
    killed = assert_complete(tmp_path / "killed.jsonl", listed(300, 11))
    quiet = assert_complete(tmp_path / "quiet.jsonl", listed(300, 11))
    transient = {s for s in killed if "transient" in (killed[s], quiet[s])}
    assert {s: killed[s] for s in killed.keys() - transient} == {
        s: quiet[s] for s in quiet.keys() - transient
    }
    assert len(transient) < 15


@pytest.mark.slow
def test_ten_thousand_killed_twenty_times(tmp_path: Path, faulty: list[str]) -> None:
    """10,000 repositories, 5 % faults of each kind, 20 kills: none lost, none twice, same results, flat memory."""
    with running("--synthetic", "10000", *faulty) as hub:
        killed_and_resumed(hub, tmp_path / "killed.jsonl", 20, 2, 8.0)
        hub.reset()
        peaks = [int(p) for p in killed_and_resumed(hub, tmp_path / "quiet.jsonl", 0, 2, 0)]
    killed = assert_complete(tmp_path / "killed.jsonl", listed(10_000, 11))
    quiet = assert_complete(tmp_path / "quiet.jsonl", listed(10_000, 11))
    transient = {s for s in killed if "transient" in (killed[s], quiet[s])}
    assert {s: killed[s] for s in killed.keys() - transient} == {
        s: quiet[s] for s in quiet.keys() - transient
    }
    assert len(transient) < 300
    assert peaks[-1] - peaks[1] < 40, f"memory grew with the number of repositories: {peaks} MB"


def test_stopping_early_is_quick(hub: Running) -> None:
    """Closing the iterator ends the threads, and nothing is asked afterwards."""
    asking = options(hub)
    client = asking.client()
    stream = audit_hub(names(client, Query()), asking, client=client)
    for _, _report in zip(range(5), stream, strict=False):
        pass
    started = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 10
    hub.reset()
    time.sleep(0.3)
    assert sum(hub.stats()["kinds"].values()) == 0


def test_a_name_is_audited_once(hub: Running) -> None:
    """A stream that repeats a name costs one audit; a skip in the stream is passed on."""
    given = [
        "org-00/model-00000",
        "org-00/model-00000",
        Skip("x", "unreadable: because"),
        "org-00/model-00000",
    ]
    reports = list(audit_hub(given, options(hub)))
    assert sorted(r.source for r in reports) == ["org-00/model-00000", "x"]


def test_the_streams_own_failure_is_raised(hub: Running) -> None:
    """Where the listing breaks off, what was audited is kept and the failure is raised, not swallowed."""

    def broken() -> object:
        yield "org-00/model-00000"
        raise HubError("unavailable", "the listing: gone")

    reports: list[Report] = []
    with pytest.raises(HubError, match="the listing: gone"):
        reports.extend(audit_hub(broken(), options(hub)))  # type: ignore[arg-type]
    stream = audit_hub(broken(), options(hub))  # type: ignore[arg-type]
    assert next(stream).source == "org-00/model-00000"


def test_renamed(hub: Running) -> None:
    """A renamed repository is audited under its new name, and the report says so."""
    (report,) = audit_hub(["old-org-00/model-00000"], options(hub))
    assert report.source == "old-org-00/model-00000"
    assert report.state is not None
    assert (
        report.skipped[0].reason
        == "renamed: old-org-00/model-00000 is now org-00/model-00000, which was audited"
    )


def test_second_audit_asks_once(hub: Running, tmp_path: Path) -> None:
    """With the cache, a second audit of unchanged repositories is one request each, and says the same."""
    asking = options(hub, cache=True)
    specs = sorted(listed(40))
    first = {r.source: r for r in audit_hub(specs, asking)}
    hub.reset()
    second = {r.source: r for r in audit_hub(specs, asking)}
    stats = hub.stats()
    assert first == second
    gated = sum(hr.synthetic_kind(i) in ("gated", "malformed") for i in range(40))
    assert stats["kinds"]["api"] == len(specs)
    assert stats["kinds"].get("resolve", 0) <= gated  # a refused file is asked for again


def test_revision(hub: Running) -> None:
    """A revision may be named; the commit that was read is in the state."""
    sha = hr.synthetic(0).sha
    (report,) = audit_hub([f"org-00/model-00000@{sha}"], options(hub))
    assert report.state is not None and report.state.source == f"org-00/model-00000@{sha}"
    assert report.source == f"org-00/model-00000@{sha}"


def test_records_are_json(hub: Running, tmp_path: Path) -> None:
    """A report of a hub repository survives JSON."""
    (report,) = audit_hub(["org-00/model-00000"], options(hub))
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
