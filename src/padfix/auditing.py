"""Audit: open a source, read its state, run the rules. One source or a stream of them.

`audit` raises when its one source cannot be read; `audit_many` goes on and reports it as a `Skip`.
Nothing here imports torch or transformers.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from padfix.errors import SourceError
from padfix.types import PadState, Report, Skip

if TYPE_CHECKING:
    from padfix.read.source import Source

    Spec = str | os.PathLike[str] | Source | Skip

MARKERS: Final = frozenset(
    {
        "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json",
        "generation_config.json", "adapter_config.json", "model.safetensors", "model.safetensors.index.json",
        "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "processor_config.json",
    }
)  # fmt: skip
"""A folder with one of these is a repository; one with only ``config.json`` if that names a model."""

_NOT_WALKED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def audit(
    source: str | os.PathLike[str] | Source,
    *,
    base: str | os.PathLike[str] | Source | None = None,
    draft: str | os.PathLike[str] | Source | None = None,
    task: str | None = None,
    select: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
) -> Report:
    """Audit one source: a folder, a repository in the local cache, or ``org/name[@revision]`` on a hub.

    A path wins over a name; a name is a hub's to answer unless ``HF_HUB_OFFLINE`` is set, and then the
    cache's. On a hub an audit spends at most 4 requests and 300 kB (`padfix.hub.run.Options` for more).

    Reads JSON and safetensors headers only: no weights, no pickle, no code of the repository, no torch.
    ``task`` is ``generation``, ``training``, ``classification`` or ``serving`` (default: what the
    architecture is for); ``select`` and ``ignore`` hold codes, prefixes of codes or rule names.

    ``base`` is another source to compare with: what an adapter, a fine-tune or a GGUF file was made from.
    ``draft`` is the small model that drafts for this one in speculative decoding.

    Raises `SourceError` when the source cannot be read, `ConfigError` for an unknown task or code.
    """
    pair = Pair.of(base, draft)
    report = _audit(source, task, select, ignore)
    return pair.compared(report, task=task, select=select, ignore=ignore)


def _audit(
    source: str | os.PathLike[str] | Source,
    task: str | None,
    select: str | Iterable[str] | None,
    ignore: str | Iterable[str] | None,
) -> Report:
    from padfix.read.repo import read_repo
    from padfix.rules import check

    if isinstance(source, str) and is_remote(source):
        from padfix.hub.run import Options, audit_remote

        return audit_remote(source, Options(task=task, select=_codes(select), ignore=_codes(ignore)))
    opened = open_source(source) if isinstance(source, (str, os.PathLike)) else source
    try:
        state = read_repo(opened)
    except SourceError as error:
        folder = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        if folder is None or (below := _below(folder)) is None:
            raise
        raise SourceError(
            f"{error}; {below} is a repository: padfix audit -r {shlex.quote(folder)} audits all below it"
        ) from error
    findings = check(state, task=task, select=select, ignore=ignore)
    return Report(
        opened.name, state, findings, tuple(Skip(opened.name, problem) for problem in state.problems)
    )


def _below(source: str) -> str | None:
    """The first folder in this one that is a repository, where the folder itself is none."""
    try:
        entries = sorted(Path(source).iterdir())
        if _is_repository(source, [path.name for path in entries if path.is_file()]):
            return None
        folders = [path for path in entries if path.is_dir() and not path.name.startswith(".")]
        found = (path for path in folders[:100] if _is_repository(path, [p.name for p in path.iterdir()]))
        return next(map(str, found), None)
    except OSError:
        return None


def is_remote(spec: str) -> bool:
    """`padfix.hub.run.is_remote`, without importing the hub's client (40 ms) for what is a path of this machine."""
    try:
        if Path(spec).exists():
            return False
    except (OSError, ValueError):  # a name too long, a null byte
        return False
    from padfix.hub import run

    return run.is_remote(spec)


@dataclass(frozen=True)
class Pair:
    """The other checkpoints of a comparison, read once: see `padfix.rules.check_pair`."""

    base: PadState | None = None
    draft: PadState | None = None

    @classmethod
    def of(
        cls,
        base: str | os.PathLike[str] | Source | None = None,
        draft: str | os.PathLike[str] | Source | None = None,
    ) -> Pair:
        """Read them. Raises `SourceError`."""
        read = (None if source is None else _audit(source, None, (), None).state for source in (base, draft))
        return cls(*read)

    def __bool__(self) -> bool:
        return self.base is not None or self.draft is not None

    def compared(
        self,
        report: Report,
        *,
        task: str | None = None,
        select: str | Iterable[str] | None = None,
        ignore: str | Iterable[str] | None = None,
    ) -> Report:
        """The report with the findings of the comparison among its own."""
        from padfix.rules import check_pair, in_order

        if not self or report.state is None:
            return report
        more = check_pair(report.state, self.base, draft=self.draft, task=task, select=select, ignore=ignore)
        return replace(report, findings=in_order((*report.findings, *more)))


def _codes(chosen: str | Iterable[str] | None) -> str | tuple[str, ...] | None:
    return chosen if chosen is None or isinstance(chosen, str) else tuple(chosen)


def audit_many(
    sources: Iterable[Spec],
    *,
    concurrency: int = 1,
    task: str | None = None,
    select: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
) -> Iterator[Report]:
    """Audit a stream of sources, yielding each report as soon as it and those before it are there.

    A source that cannot be read becomes a report without a state whose ``skipped`` says why. Memory does
    not grow with the number of sources. ``concurrency`` is the number of threads, worth it for hubs only.
    """
    from padfix.rules import resolve

    chosen = None if select is None else resolve(select)
    ignored = None if ignore is None else resolve(ignore, option="ignore")

    def one(source: Spec) -> Report:
        if isinstance(source, Skip):
            return Report(source.source, None, (), (source,))
        try:
            return audit(source, task=task, select=chosen, ignore=ignored)
        except SourceError as error:
            name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else source.name
            return Report(name, None, (), (Skip(name, str(error).removeprefix(f"{name}: ")),))

    return map(one, sources) if concurrency <= 1 else _threaded(one, sources, concurrency)


def _threaded(
    one: Callable[[Spec], Report],
    sources: Iterable[Spec],
    concurrency: int,
) -> Iterator[Report]:
    from concurrent.futures import Future, ThreadPoolExecutor

    window: deque[Future[Report]] = deque()
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="padfix-audit")
    try:
        for source in sources:
            window.append(pool.submit(one, source))
            if len(window) >= 2 * concurrency:  # bounded, so a million names are not all submitted at once
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def open_source(spec: str | os.PathLike[str]) -> Source:
    """The source that a name stands for. Raises `SourceError` when there is none."""
    from padfix.read import source
    from padfix.write.files import interrupted
    from padfix.write.folders import cache_of

    name = os.fspath(spec)
    try:
        mode = os.stat(spec).st_mode  # noqa: PTH116 - asked once for every repository of a tree
    except (OSError, ValueError):
        return source.open_source(name)
    path = Path(spec)
    if stat.S_ISREG(mode) and path.suffix != ".gguf":
        raise SourceError(
            f"{spec} is a file; audit the folder it is in: padfix audit {shlex.quote(str(path.parent))}"
        )
    if not stat.S_ISDIR(mode):
        return source.open_source(name)
    if interrupted(path):
        raise SourceError(
            f"{spec}: a fix was killed half-way here; finish it with: padfix fix {shlex.quote(str(path))}"
        )
    return source.FolderSource(path, name=name, inside=cache_of(path))


def repositories_under(root: str | os.PathLike[str]) -> Iterator[str | Skip]:
    """Every folder at or below ``root`` that holds a tokenizer or a model, in sorted order.

    Symbolic links to folders, hidden folders and those of package managers are not entered. A folder
    that cannot be listed is a `Skip`.
    """
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_WALKED)
        if _is_repository(folder, files):
            yield folder.removeprefix("./") or folder
        while unreadable:
            error = unreadable.pop()
            yield Skip(str(error.filename), f"cannot be listed: {error.strerror}")
    for error in unreadable:
        yield Skip(str(error.filename), f"cannot be listed: {error.strerror}")


def _is_repository(folder: str | os.PathLike[str], files: list[str]) -> bool:
    if MARKERS.intersection(files) or any(name.endswith(".gguf") for name in files):
        return True
    return "config.json" in files and _names_a_model(Path(folder, "config.json"))


def _names_a_model(config: Path) -> bool:
    """Many other programs have a ``config.json``; a model's names its type in the first 64 kB."""
    try:
        with config.open("rb") as file:
            head = file.read(65536)
    except OSError:
        return False
    return b'"model_type"' in head or b'"architectures"' in head


def cached_repositories(cache: str | os.PathLike[str] | None = None) -> Iterator[Source | Skip]:
    """Every model in the local Hugging Face cache: its ``main``, else each snapshot that is there.

    ``cache`` defaults to huggingface_hub's own. Raises `SourceError` where there is no cache.
    """
    from padfix.read.source import cache_folder, cached_repository
    from padfix.read.source import cached_repositories as names

    try:
        root = Path(cache_folder() if cache is None else cache)
    except RuntimeError as error:  # no HOME, and no such user
        raise SourceError("no home directory, so no Hugging Face cache; set HF_HUB_CACHE") from error
    if not root.is_dir():
        raise SourceError(f"no Hugging Face cache at {root}; set HF_HUB_CACHE or HF_HOME if it is elsewhere")
    for name in names(root):
        folder = root / f"models--{name.replace('/', '--')}"
        commits = [path.name for path in sorted(folder.glob("snapshots/*"))]
        revisions = [None] if (folder / "refs" / "main").is_file() else commits
        if not revisions:
            yield Skip(name, "the local cache holds no snapshot of it")
        for revision in revisions:
            try:
                yield cached_repository(name, revision, folder=root)
            except SourceError as error:
                yield Skip(name, str(error).removeprefix(f"{name}: "))
