"""The same audit spread over a Ray cluster: batches of names go out, finished reports come back.

A batch returns as a whole, so a worker that dies takes no half-written result with it: Ray runs its batch
again elsewhere, and the driver, which alone writes the results file, sees each repository once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from padfix.errors import MissingDependencyError
from padfix.hub.ledger import Spec
from padfix.hub.run import Options, audit_hub, once_each
from padfix.types import Report, Skip

if TYPE_CHECKING:
    from types import ModuleType

BATCH: Final = 32  # names; some seconds of work, so that a dead worker costs little
_RETRIES: Final = 5  # of a batch whose worker died


def audit_ray(
    specs: Iterable[Spec],
    options: Options | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    batch: int = BATCH,
) -> Iterator[Report]:
    """`padfix.hub.run.audit_hub` on a Ray cluster; the same reports, in no fixed order.

    ``address``: of a running cluster (``ray://host:10001``, ``auto``); None starts a local one and stops it
    again. ``workers``: tasks at a time (default: the cluster's CPUs). padfix must be installed on the
    workers. Each worker obeys 429 for itself, so give fewer workers where one token serves them all.
    A batch that kills its workers again and again is reported as skips. Raises `MissingDependencyError`.
    """
    ray = _ray()
    options = options or Options()
    client = options.client()  # here too: a hub that is too old to ask is found before a cluster starts
    token = client.token
    options = replace(options, endpoint=client.endpoint, token=token if token else False)
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        yield from _run(
            ray,
            once_each(specs),
            options,
            workers or max(1, int(ray.cluster_resources().get("CPU", 1))),
            batch,
        )
    finally:
        if started:
            ray.shutdown()


def _run(
    ray: ModuleType, specs: Iterator[Spec], options: Options, workers: int, batch: int
) -> Iterator[Report]:
    remote: Callable[[Any, Any], Any] = ray.remote(num_cpus=1, max_retries=_RETRIES)(_audit_batch).remote
    shared = ray.put(options)
    under_way: dict[Any, list[Spec]] = {}
    ended = False
    try:
        while not ended or under_way:
            while not ended and len(under_way) < 2 * workers:
                names = list(itertools.islice(specs, batch))
                ended = not names
                if names:
                    under_way[remote(names, shared)] = names
            if not under_way:
                break
            ready, _ = ray.wait(list(under_way), num_returns=1, timeout=1.0)
            for reference in ready:
                names = under_way.pop(reference)
                try:
                    reports = ray.get(reference)
                except ray.exceptions.RayError as error:
                    reason = f"failed: its worker died {_RETRIES + 1} times ({type(error).__name__})"
                    sources = (name if isinstance(name, str) else name.source for name in names)
                    reports = [Report(source, None, (), (Skip(source, reason),)) for source in sources]
                yield from reports
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)


def _audit_batch(names: list[Spec], options: Options) -> list[Report]:
    """In a worker: its process keeps connections and cache between batches."""
    return list(audit_hub(names, options))


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "--engine ray needs Ray; install it with: pip install 'padfix[ray]'"
        ) from error
    return ray  # type: ignore[no-any-return]
