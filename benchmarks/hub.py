"""How many requests, bytes and seconds an audit of a hub costs, against what one would write by hand.

A local hub answers every request 50 ms late. Rivals: a loop of ``AutoTokenizer.from_pretrained`` and
``AutoConfig.from_pretrained``, and the same loop in a thread pool of the same size. Each runs in a process
of its own with an empty cache; the loop takes a sample of the repositories, the others all. Requests are counted by the server, those that a
redirect leads to among them; a repository counts for the speed of a rival also where it fails to load.

    python benchmarks/hub.py                     # made-up repositories of 10 kB tokenizers
    python benchmarks/hub.py --corpus DIR        # real ones, up to 17 MB
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "hub"))


def rival(names: list[str], threads: int) -> dict[str, float]:
    """What a script without padfix does: load tokenizer and config, look at the pad."""
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()

    def one(name: str) -> bool:
        pads = []
        for auto, key in ((AutoTokenizer, "pad_token"), (AutoConfig, "pad_token_id")):
            try:
                pads.append(getattr(auto.from_pretrained(name, trust_remote_code=False), key, None))
            except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError):
                continue  # a tokenizer without a config, or the other way round
        return bool(pads)

    started = time.monotonic()
    if threads == 1:
        done = [one(name) for name in names]
    else:
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(one, names))
    return {"seconds": time.monotonic() - started, "loaded": sum(done)}


def ours(names: list[str], threads: int, requests: int | None, *, cache: bool) -> dict[str, float]:
    """The full audit, or with ``requests`` None the audit that reads whole vocabularies."""
    import huggingface_hub.utils  # noqa: F401 (what is imported is not timed, of the rivals neither)
    import numpy as np  # noqa: F401

    from padfix.hub.run import Options, audit_hub

    n_bytes = 300_000 if requests else None
    options = Options(token=False, concurrency=threads, requests=requests, n_bytes=n_bytes, cache=cache)
    started = time.monotonic()
    loaded = sum(report.state is not None for report in audit_hub(names, options))
    return {"seconds": time.monotonic() - started, "loaded": loaded}


def survey() -> dict[str, float]:
    """The listing alone."""
    from padfix.hub.client import Client
    from padfix.hub.listing import Query
    from padfix.hub.survey import survey as run

    started = time.monotonic()
    return {
        "loaded": sum(report.state is not None for report in run(Client(token=False), Query())),
        "seconds": time.monotonic() - started,
    }


def child(arguments: argparse.Namespace) -> None:
    names = json.loads(sys.stdin.read())
    if arguments.child == "survey":
        result = survey()
    elif arguments.child == "audit":
        result = ours(names, arguments.threads, 4, cache=False)
    elif arguments.child == "shared":
        result = ours(names, arguments.threads, 4, cache=True)
    elif arguments.child == "whole":
        result = ours(names, arguments.threads, None, cache=False)
    else:
        result = rival(names, 1 if arguments.child == "loop" else arguments.threads)
    print(json.dumps(result))


def measure(url: str, kind: str, names: list[str], threads: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": home, "PADFIX_CACHE": home, "HF_HUB_OFFLINE": "0",
               "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
               "DISABLE_SAFETENSORS_CONVERSION": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
        command = [sys.executable, __file__, "--child", kind, "--threads", str(threads)]
        done = subprocess.run(
            command, input=json.dumps(names), env=env, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, help="a folder of family/name repositories to serve")
    parser.add_argument("--repositories", type=int, default=300)
    parser.add_argument("--rivals", type=int, default=40, help="repositories that the loop loads")
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return

    import hub_repositories as hr
    from server import running

    n = arguments.repositories
    if arguments.corpus:
        names = [repo.id for repo in hr.from_corpus(arguments.corpus)]
        served = ["--corpus", str(arguments.corpus)]
    else:
        loadable = ("bert", "gpt2-no-pad", "llama-reserved", "pad-is-eos", "pad-disagrees", "t5", "sharded")
        names = [hr.synthetic_id(i) for i in range(n) if hr.synthetic_kind(i) in loadable]
        served = ["--synthetic", str(n)]
    few = names[:: max(1, len(names) // arguments.rivals)][: arguments.rivals]
    print(
        f"{len(names)} repositories, {arguments.latency * 1e3:.0f} ms latency, {arguments.threads} threads; requests with redirects"
    )
    print(
        f"{'':37}{'repositories':>13}{'loaded':>8}{'requests each':>15}{'most':>6}{'kB each':>9}{'most':>8}{'seconds':>9}"
        f"{'per second':>12}{'x loop':>8}{'x pool':>8}"
    )
    with running(*served, "--latency", str(arguments.latency)) as hub:
        speeds: dict[str, float] = {}
        for kind, label, some in (
            ("loop", "AutoTokenizer + AutoConfig, loop", few),
            ("pool", "the same in a thread pool", names),
            ("audit", "padfix audit --no-cache", names),
            ("shared", "padfix audit", names),
            ("whole", "padfix audit --requests 0 --no-cache", names),
            ("survey", "padfix audit --survey", names),
        ):
            hub.reset()
            result = measure(hub.url, kind, some, arguments.threads)
            stats = hub.stats()
            wire = sum(stats["kinds"].get(k, 0) for k in ("api", "resolve", "cache", "cdn"))
            cells = stats["repos"].values()
            most = max((asked + followed for asked, followed, _ in cells), default=0)
            largest = max((n_bytes for *_, n_bytes in cells), default=0)
            count = result["loaded"] if kind == "survey" else len(some)
            speeds[kind] = count / result["seconds"]
            against = "".join(
                f"{speeds[kind] / speeds[r]:>8.1f}" if r in speeds else f"{'':8}" for r in ("loop", "pool")
            )
            print(
                f"{label:37}{int(count):>13}{int(result['loaded']):>8}{wire / count:>15.2f}{most:>6}{stats['bytes'] / count / 1e3:>9.1f}"
                f"{largest / 1e3:>8.1f}{result['seconds']:>9.1f}{speeds[kind]:>12.1f}{against}"
            )


if __name__ == "__main__":
    main()
