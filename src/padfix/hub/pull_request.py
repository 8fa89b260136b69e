"""Repair a hub repository by a pull request: small files only, read, planned and audited like a folder.

`propose` downloads what a repair may need (JSON, vocabularies, weights' headers; never weights) to a
temporary folder and plans there, so the diff is that of ``padfix fix`` on a clone. Nothing is sent
before `Proposal.open`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from padfix.errors import SourceError
from padfix.hub.cache import BlobCache
from padfix.hub.errors import HubError
from padfix.hub.run import Options
from padfix.hub.source import HubSource
from padfix.types import Finding

if TYPE_CHECKING:
    from padfix.write.checkpoint import Repair

_SMALL: Final = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".spm", ".tokenizer", ".py")
_MOST: Final = 64 * 2**20  # bytes of one file; Gemma 3's tokenizer.json has 33 MB
_LONGEST_DIFF: Final = 20_000  # characters in the description; the pull request itself shows all


@dataclass(frozen=True)
class Proposal:
    """A planned repair of one repository at one commit, ready to be opened as a pull request."""

    repo: str
    revision: str
    repair: Repair
    before: tuple[Finding, ...]  # what an audit finds now

    def __bool__(self) -> bool:
        return bool(self.repair)

    @property
    def title(self) -> str:
        """The pull request's title."""
        pad = self.repair.plan.pad
        return f"Set the pad token to {pad.text}" if pad is not None else "Bring the pad token in step"

    def description(self) -> str:
        """What was found, what changes, what is still found: Markdown for the hub's page."""
        from padfix.render.escape import safe

        lines = [
            "This pull request was prepared with `padfix fix --create-pr`. It changes small JSON files only; no weight is touched."
        ]
        lines += ["", "**Found**", "", *(_bullets(self.before) or ["- nothing that a rule reports"])]
        lines += [
            "",
            "**Why this token**",
            "",
            *(f"- {_inline(reason)}" for reason in self.repair.plan.reasons),
        ]
        if self.repair.plan.warnings:
            lines += [
                "",
                "**Please note**",
                "",
                *(f"- {_inline(warning)}" for warning in self.repair.plan.warnings),
            ]
        left = _bullets(self.repair.findings)
        if left:
            lines += ["", "**Still found afterwards**", "", *left]
        diff = safe(self.repair.diff(), newlines=True, limit=10**9)
        shown = diff if len(diff) <= _LONGEST_DIFF else diff[:_LONGEST_DIFF] + "\n... (cut)"
        fence = "`" * max(3, _longest_run(shown) + 1)
        lines += ["", f"{fence}diff", shown.rstrip("\n"), fence, "", f"Base: `{self.revision}`"]
        return "\n".join(lines) + "\n"

    def open(self, options: Options) -> str:
        """Open the pull request and return its address. Raises `SourceError`.

        Sent once and never again by itself: a repeat could open a second one. A repository that changed
        since it was read is refused by the hub.
        """
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HfHubHTTPError

        client = options.client()
        if not client.has_token:
            raise HubError(
                "refused",
                f"{self.repo}: a pull request needs a token; log in with `hf auth login` or set HF_TOKEN",
            )
        if not self.repair:
            raise HubError("refused", f"{self.repo}: there is nothing to change")
        operations = [CommitOperationAdd(name, text.encode()) for name, text in self.repair.new.items()]
        try:
            done = HfApi(client.endpoint, token=client.token).create_commit(
                self.repo, operations, commit_message=self.title, commit_description=self.description(),
                create_pr=True, parent_commit=self.revision,
            )  # fmt: skip
        except HfHubHTTPError as error:
            status = getattr(getattr(error, "response", None), "status_code", "no status")
            said = " ".join(str(error.server_message or error).split())[:300]
            raise HubError(
                "refused", f"{self.repo}: the hub did not take the pull request ({status}): {said}"
            ) from error
        if not done.pr_url:
            raise SourceError(f"{self.repo}: the hub answered without the address of a pull request")
        return str(done.pr_url)


@contextmanager
def propose(
    spec: str, options: Options, strategy: str = "auto", *, pad_token: str | None = None
) -> Iterator[Proposal]:
    """Plan the repair of ``org/name[@revision]``; the downloaded files live as long as the block.

    Raises `SourceError` for what cannot be read and `StrategyError` where the strategy does not apply.
    """
    from padfix.rules import check
    from padfix.write.checkpoint import plan_repair

    client = options.client()
    source = HubSource(
        client, spec, requests=None, n_bytes=None, cache=BlobCache() if options.cache else None
    )
    with tempfile.TemporaryDirectory(prefix="padfix-") as temporary:
        folder = Path(temporary) / source.listing.id.rpartition("/")[2]
        folder.mkdir()
        download(source, folder)
        repair = plan_repair(folder, strategy, pad_token=pad_token)
        yield Proposal(source.listing.id, source.listing.sha, repair, check(repair.before))


def download(source: HubSource, folder: Path) -> None:
    """The repository's small files, and for safetensors the header in a file that is a hole after it."""
    for name in source.names():
        size = source.size(name)
        if "/" in name:
            continue
        if name.endswith(".safetensors") and size >= 8:
            length = int.from_bytes(source.range(name, 0, 8), "little")
            head = source.range(name, 0, min(8 + length, size, _MOST))
            with (folder / name).open("wb") as file:
                file.write(head)
                file.truncate(size)
        elif name.endswith(_SMALL) and size <= _MOST:
            (folder / name).write_bytes(source.read(name, _MOST))


def _bullets(findings: tuple[Finding, ...]) -> list[str]:
    return [f"- {f.severity} {f.code} ({f.name}): {_inline(f.message)}" for f in findings]


def _inline(text: str) -> str:
    """Words from a repository in one line of Markdown: no markup, no mention, no link."""
    from padfix.render import markdown

    return markdown.escape(text)


def _longest_run(text: str) -> int:
    return max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0)
