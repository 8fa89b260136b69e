"""Audit many repositories of a hub at once: bounded threads, a stream of reports, nothing lost or repeated.

Reports come as they are finished. What cannot be audited is a report too, with a typed `Skip`. Only a
window of twice ``concurrency`` repositories is in flight, so memory does not grow with their number.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from padfix.errors import SourceError
from padfix.hub.cache import BlobCache
from padfix.hub.client import Client, hub_is_new
from padfix.hub.errors import HubError
from padfix.hub.file_list import split_name
from padfix.hub.ledger import Spec
from padfix.hub.source import BYTES, REQUESTS, HubSource
from padfix.hub.state import hub_findings, hub_state
from padfix.types import Report, Skip

CONCURRENCY = 16  # threads; below the 20 idle connections that huggingface_hub's session keeps


@dataclass(frozen=True)
class Options:
    """How a hub audit is run. ``requests`` and ``n_bytes`` are per repository; None: as many as it takes.

    ``token``: as `Client` takes it; it is not shown by ``repr``. ``cache``: keep small files by hash.
    """

    endpoint: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    concurrency: int = CONCURRENCY
    requests: int | None = REQUESTS
    n_bytes: int | None = BYTES
    cache: bool = True
    tries: int = 6
    pause: float = 0.5
    timeout: float = 30.0
    task: str | None = None
    select: str | tuple[str, ...] | None = None
    ignore: str | tuple[str, ...] | None = None

    def client(self) -> Client:
        """A client with these settings. Raises `MissingDependencyError` where huggingface_hub is too old."""
        return Client(self.endpoint, self.token, tries=self.tries, pause=self.pause, timeout=self.timeout)


def is_offline() -> bool:
    """True when ``HF_HUB_OFFLINE`` keeps everything from the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def is_remote(spec: str) -> bool:
    """True when a name is a hub's to answer: no path of this machine, and the network may be used.

    With ``HF_HUB_OFFLINE``, or where huggingface_hub is too old for the network and the local cache has the
    repository, it is not.
    """
    from padfix.read.source import cached_repository

    try:
        split_name(spec)
        if Path(spec).exists() or is_offline():
            return False
    except (HubError, OSError, ValueError):
        return False
    if hub_is_new():
        return True
    try:
        cached_repository(*split_name(spec))
    except SourceError:
        return True  # `Client` says what is needed
    return False


def audit_one(spec: str, client: Client, options: Options, cache: BlobCache | None = None) -> Report:
    """Audit one repository, ``org/name[@revision]``. Raises `SourceError` when it cannot be read.

    A repository that was renamed is audited under its new name, and a `Skip` says so.
    """
    source = HubSource(client, spec, requests=options.requests, n_bytes=options.n_bytes, cache=cache)
    state = hub_state(source)
    findings = hub_findings(state, source, task=options.task, select=options.select, ignore=options.ignore)
    asked = spec.partition("@")[0]
    moved = f"renamed: {asked} is now {source.listing.id}, which was audited"
    return Report(spec, state, findings, (Skip(spec, moved),) if source.listing.id != asked else ())


def audit_remote(spec: str, options: Options) -> Report:
    """Audit one repository of a hub with a client of its own. Raises `SourceError`."""
    try:
        return audit_one(spec, options.client(), options, BlobCache() if options.cache else None)
    except HubError as error:
        if error.kind == "not-found":
            raise HubError("not-found", f"{error.detail}; and there is no such folder here") from error
        raise


def report_of(spec: Spec, client: Client, options: Options, cache: BlobCache | None = None) -> Report:
    """`audit_one`, with every refusal as a report whose `Skip` begins with the kind of refusal."""
    if isinstance(spec, Report):
        return spec
    if isinstance(spec, Skip):
        return Report(spec.source, None, (), (spec,))
    try:
        return audit_one(spec, client, options, cache)
    except HubError as error:
        return Report(
            spec, None, (), (Skip(spec, f"{error.kind}: {error.detail.removeprefix(f'{spec}: ')}"),)
        )
    except SourceError as error:
        return Report(spec, None, (), (Skip(spec, f"unreadable: {error}"),))
    except Exception as error:  # noqa: BLE001 (one repository's surprise must not end a run over a million)
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"failed: {type(error).__name__}: {str(error)[:200]} ({where.name}, line {where.lineno}); please report it"
        return Report(spec, None, (), (Skip(spec, reason),))


def audit_hub(
    specs: Iterable[Spec], options: Options | None = None, *, client: Client | None = None
) -> Iterator[Report]:
    """Audit a stream of repositories, yielding each report as soon as it is there, in no fixed order.

    Each name is audited once, however often the stream holds it. Closing the iterator, or Ctrl-C, stops
    the threads without waiting for retries. Raises `MissingDependencyError` where huggingface_hub is
    older than 1, and whatever the stream of names raises, after the reports that are under way.
    """
    options = options or Options()
    client = client or options.client()
    cache = BlobCache() if options.cache else None
    done: queue.SimpleQueue[Report] = queue.SimpleQueue()
    slots = threading.Semaphore(2 * options.concurrency)
    failure: list[BaseException] = []
    ended = threading.Event()
    submitted = 0

    def work(spec: Spec) -> None:
        done.put(report_of(spec, client, options, cache))

    def feed(pool: ThreadPoolExecutor) -> None:
        """In a thread of its own, so that a page of names is fetched while repositories are audited."""
        nonlocal submitted
        try:
            for spec in once_each(specs):
                slots.acquire()
                if client.stop.is_set():
                    break
                submitted += 1
                pool.submit(work, spec)
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            failure.append(error)
        ended.set()

    pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix="padfix-hub")
    feeder = threading.Thread(target=feed, args=(pool,), name="padfix-names", daemon=True)
    feeder.start()
    received = 0
    try:
        while not (ended.is_set() and received == submitted):
            try:
                report = done.get(timeout=0.1)
            except queue.Empty:
                continue
            received += 1
            slots.release()
            yield report
        if failure:
            raise failure[0]
    finally:
        client.stop.set()
        slots.release()  # let the feeder see the stop
        pool.shutdown(wait=True, cancel_futures=True)
        feeder.join(2 * options.timeout)
        client.stop.clear()


def once_each(specs: Iterable[Spec]) -> Iterator[Spec]:
    """A listing that changes while it is paged through names some repositories twice."""
    seen: set[int] = set()  # hashes: 8 bytes and a slot per name, where a million names would take 100 MB
    for spec in specs:
        key = hash(spec if isinstance(spec, str) else spec.source)
        if key not in seen:
            seen.add(key)
            yield spec


@dataclass
class Rate:
    """Repositories per second over the last minute or so, and what that means for the rest.

    >>> rate = Rate(total=100)
    >>> rate.step(); rate.done
    1
    """

    total: int | None = None
    done: int = 0
    _start: float = field(default_factory=time.monotonic)

    def step(self, n: int = 1) -> None:
        """So many more are done."""
        self.done += n

    @property
    def per_second(self) -> float:
        """Mean rate since the start."""
        return self.done / max(1e-9, time.monotonic() - self._start)

    @property
    def remaining(self) -> float | None:
        """Seconds left at this rate; None where the total is unknown."""
        if self.total is None or self.done == 0:
            return None
        return max(0.0, (self.total - self.done) / self.per_second)
