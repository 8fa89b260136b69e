"""The Ray engine: same reports as threads, and a worker that dies loses and repeats nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
pytest.importorskip("ray")
pytest.importorskip("psutil")
from server import running

# a process of its own: Ray's threads, sockets and warnings are not this test session's
JOB = """
import collections, sys
import psutil, ray
from padfix.hub.engine_ray import audit_ray
from padfix.hub.listing import Query, names
from padfix.hub.run import Options, audit_hub

options = Options(endpoint=sys.argv[1], token=False, pause=0.02, timeout=5, cache=False, concurrency=4, tries=20)
client = options.client()
wanted = {r.source: r for r in audit_hub(names(client, Query()), options, client=client)}
ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
seen, different, killed = collections.Counter(), 0, 0
for report in audit_ray(names(client, Query()), options, batch=12):
    seen[report.source] += 1
    different += report != wanted[report.source]
    if sum(seen.values()) >= 30 and not killed:
        busy = [p for p in psutil.Process().children(recursive=True) if any("ray::_audit_batch" in c for c in p.cmdline())]
        if busy:
            busy[0].kill()
            killed = 1
ray.shutdown()
print("RESULT", len(wanted), len(seen), max(seen.values()), different, killed)
"""


@pytest.mark.slow
def test_a_worker_dies(tmp_path: Path) -> None:
    """200 repositories on three workers, one killed amid its batch: each once, each the same."""
    job = tmp_path / "job.py"
    job.write_text(JOB)
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with running("--synthetic", "200", "--fault-rate", "0.02", "--slow", "0.2") as hub:
        done = subprocess.run(
            [sys.executable, str(job), hub.url],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
            env=env,
        )
    result = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    assert result is not None, done.stderr[-3000:]
    wanted, seen, most, different, killed = map(int, result.split()[1:])
    assert wanted == seen > 150
    assert most == 1
    assert different == 0
    assert killed == 1


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the command that installs it."""
    from padfix.errors import MissingDependencyError
    from padfix.hub.engine_ray import audit_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'padfix\[ray\]'"):
        next(audit_ray(["a/b"]))
