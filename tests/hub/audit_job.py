"""A hub audit as a process of its own, for tests that kill it: ``audit_job.py URL LEDGER [--resume]``."""

from __future__ import annotations

import resource
import sys

from padfix.hub.ledger import Ledger
from padfix.hub.listing import Query, names
from padfix.hub.run import Options, audit_hub


def main() -> None:
    url, path, *flags = sys.argv[1:]
    options = Options(endpoint=url, token=False, concurrency=8, tries=12, pause=0.01, timeout=5, cache=False)
    client = options.client()
    peaks = []
    with Ledger(path, resume="--resume" in flags) as ledger:
        for n, report in enumerate(
            audit_hub(ledger.pending(names(client, Query())), options, client=client), 1
        ):
            ledger.write(report)
            if n % 500 == 0:
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    print("DONE", *peaks, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
