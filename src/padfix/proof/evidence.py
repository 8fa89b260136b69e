"""The forward passes of one proof, and the comparisons that the checks are made of.

Causal models: the mixed batch with ordinary ids at masked places (it holds the unpadded references too),
the same with the pad id, and one single row, left-padded, without position ids. With the pass before the
write that is four. Others: two or three texts alone, the two mixed batches, and a narrower one with the pad
id and no position ids; six.
Only where something differs, a further pass measures noise or tells two causes apart.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any, Final

from padfix.proof.probes import Probe, Row
from padfix.proof.run import ProbeError, Run, forward
from padfix.proof.subject import Subject, nested_configs
from padfix.proof.tolerances import Difference, Limits, difference, limits


def unpadded(subject: Subject, probe: Probe) -> tuple[Probe, Run]:
    """The pass that is run before and after a write, and the probe whose layout fits what it showed.

    A model that was taken for causal, but whose tokens see what follows them, gets the other layout.
    """
    if probe.layout == "prefix":
        run = _finite(forward(subject, probe.mixed(), probe.fill))
        if is_causal(subject, probe, run):
            return probe, run
        probe = replace(probe, layout="alone")
    row = probe.alone(probe.padded("right", probe.referenced()[0]))
    return probe, _finite(forward(subject, (row,), probe.fill, positions=False))


def _finite(run: Run) -> Run:
    """The run itself; `ProbeError` where a text without padding gives NaN already."""
    import torch

    if any(bool(torch.isnan(run.at(n)).any()) for n, row in enumerate(run.rows) if row.kind == "full"):
        raise ProbeError("the outputs of text without padding are NaN")
    return run


def is_causal(subject: Subject, probe: Probe, run: Run) -> bool:
    """True when a token's vector does not depend on what follows it: the suffix row against the full one."""
    suffix = next(row for row in run.rows if row.kind == "suffix")
    half = probe.width // 2
    full = run.at(0)[:half]
    zones = limits(subject.dtype)
    found = difference(full, run.of(suffix)[:half], vocabulary=run.vocabulary).worst
    return found <= (zones.certain if subject.low_precision else zones.floor)


@dataclass
class Evidence:
    """What the passes gave. Attributes are filled by `gather`; derived figures are computed once."""

    subject: Subject
    probe: Probe
    first: Run  # the unpadded pass, comparable with the one before the write
    filled: Run  # mixed batch, ordinary ids at masked places
    padded: Run  # mixed batch, the pad id there
    pad_id: int | None
    alone: dict[tuple[int, ...], Run] = field(default_factory=dict)  # by tokens; empty in the prefix layout
    single: Run | None = None  # its last row is left-padded and bare
    narrow: Run | None = None  # the texts of `alone` with fewer pads, no position ids

    @functools.cached_property
    def zones(self) -> Limits:
        """The limits of the model's dtype."""
        return limits(self.subject.dtype)

    def reference(self, row: Row, run: Run) -> Any:
        """The vectors of the same text with no padding."""
        if row.kind.startswith("decoder"):
            return run.at(0)[: len(row.decoder)]
        if self.probe.layout == "prefix":
            return run.at(row.text)[: len(row.tokens)]
        return self.alone[row.tokens].at(0)

    def rows(self, side: str) -> tuple[tuple[Row, Run], ...]:
        """The padded rows of a side that have a reference, each with the run that holds it.

        The narrow batch has no position ids, so where the model takes some, its left rows are `bare`.
        """
        runs = [self.padded]
        if self.narrow is not None and (side == "right" or not self.subject.takes_positions):
            runs.append(self.narrow)
        known = self.alone if self.probe.layout == "alone" else None
        return tuple(
            (row, run)
            for run in runs
            for row in run.rows
            if row.kind == side and (known is None or row.tokens in known)
        )

    def against_alone(self, side: str) -> Difference:
        """Padded rows of a side against the text alone, the worst of all pad lengths."""
        pairs = [(self.reference(row, run), run.of(row)) for row, run in self.rows(side)]
        decoder = getattr(self.subject.model.config, "decoder", None)
        if side == "right" and self.probe.decoder and getattr(decoder, "is_decoder", True):
            row = self.kind("decoder-right")  # its reference is a prefix, so the decoder must be causal
            pairs.append((self.reference(row, self.padded), self.padded.of(row)))
        return self._worst(pairs)

    def row_against_alone(self, kind: str) -> Difference:
        """The one row of a kind against the text alone."""
        row = self.kind(kind)
        return self._worst([(self.reference(row, self.padded), self.padded.of(row))])

    def swap(self, side: str) -> Difference:
        """The same rows with other ids at masked places: what the content of padding does to real tokens."""
        rows = [
            row
            for row in self.padded.rows
            if row.kind == side
            or (row.kind.startswith("decoder") and (side == "left" or row.kind == "decoder-right"))
        ]
        return self._worst([(self.filled.of(row), self.padded.of(row)) for row in rows])

    def kind(self, kind: str) -> Row:
        """The one row of this kind."""
        return next(row for row in self.padded.rows if row.kind == kind)

    @functools.cached_property
    def sensitive(self) -> bool:
        """The positive control: with an all-ones mask, or a mask that fails, padding shows."""
        rows = [row for row in self.padded.rows if row.kind in ("open-left", "open-right")]
        return any(self._worst([(self.filled.of(r), self.padded.of(r))]).worst > 0 for r in rows)

    def mask_inert(self, side: str) -> bool:
        """True when the model does not look at the mask: padding shows under an all-ones mask, and just as much
        under the right one."""
        row, open_row = self.probe.padded(side, self.probe.longest), self.kind(f"open-{side}")
        same = self._worst([(self.padded.of(open_row), self.padded.of(row))])
        shows = self._worst([(self.filled.of(open_row), self.padded.of(open_row))])
        return same.finite and same.worst <= self.zones.floor and shows.worst > 0

    def score_without_pad(self) -> Any:
        """A classifier's score for the first text alone with no pad id in its configs: pooled at the last token.

        One further pass; the configs are put back at once.
        """
        configs = [(vars(config), dict(vars(config))) for config in nested_configs(self.subject.model.config)]
        try:
            for live, _ in configs:
                if "pad_token_id" in live:
                    live["pad_token_id"] = None
            return forward(self.subject, self.first.rows, self._pads, positions=False).scores
        finally:
            for live, kept in configs:
                live.update(kept)

    @functools.cached_property
    def unmasked_differs(self) -> bool:
        """True when a text alone is not the same as beside a padded row of its own length; one further pass."""
        reference = next(iter(self.alone.values()), None)
        if reference is None or not self.subject.takes_mask:
            return False
        row = reference.rows[0]
        padded = replace(row, kind="right", tokens=row.tokens[:-1], right=1)
        run = forward(self.subject, (row, padded), self._pads, positions=False)
        return difference(reference.at(0), run.at(0), vocabulary=False).worst > self.zones.certain

    def bare(self) -> Difference | None:
        """Left-padded rows without position ids against the text alone; None: they were not run."""
        if self.single is not None:
            return self._bare(self.single)
        if self.narrow is None or not self.subject.takes_positions:
            return None
        left = [row for row in self.narrow.rows if row.kind == "left"]
        return self._worst([(self.alone[row.tokens].at(0), self.narrow.of(row)) for row in left])

    def only_single(self) -> bool:
        """True where a bare row that differs by itself does not as one of two; one further pass."""
        if self.single is None:
            return False
        row = self._bare_row
        batch = forward(self.subject, (row, row), self._pads, positions=False)
        return self._bare(batch).worst <= self.zones.floor

    @property
    def _bare_row(self) -> Row:
        return _bare(self.probe)

    def _bare(self, run: Run) -> Difference:
        row = run.rows[-1]
        if self.probe.layout == "prefix":
            reference = self.padded.at(row.text)[: len(row.tokens)]
        else:
            reference = self.alone[row.tokens].at(0)
        return self._worst([(reference, run.at(len(run.rows) - 1))])

    @functools.cached_property
    def noise(self) -> float:
        """Rounding noise of a neutral change of shape, in standard deviations.

        A causal model's text alone against the same text followed by real tokens; elsewhere one row against
        three equal ones.
        """
        if self.probe.layout == "prefix":
            known = self.single if self.single is not None and len(self.single.rows) > 1 else None
            run = known or forward(self.subject, (_short(self.probe),), self._pads)
            return length_effect(self.padded, run)
        row = self.first.rows[0]
        run = forward(self.subject, (row, row, row), self._pads, positions=False)
        return difference(self.first.at(0), run.at(1), vocabulary=False).worst

    @functools.cached_property
    def routing_noise(self) -> float:
        """What other rows of a batch do to a row by rounding: the real tokens of every other row are replaced."""
        changed = tuple(
            replace(row, tokens=row.tokens[::-1])
            if row.kind in ("full", "suffix", "counted") or row.kind.startswith("open")
            else row
            for row in self.padded.rows
        )
        run = forward(self.subject, changed, self._pads)
        pairs = [
            (self.padded.at(n), run.at(n)) for n, row in enumerate(changed) if row.kind in ("right", "left")
        ]
        return self._worst(pairs).worst

    def limit(self, found: Difference) -> float:
        """The limit for a difference: the floor, or what the noise measured in this call allows."""
        if found.worst <= self.zones.floor or found.worst >= self.zones.certain:
            return self.zones.floor
        return min(self.zones.certain, max(self.zones.floor, 4 * self.noise))

    @property
    def _pads(self) -> tuple[int, ...]:
        return self.probe.fill if self.pad_id is None else (self.pad_id,)

    def _worst(self, pairs: list[tuple[Any, Any]]) -> Difference:
        total = Difference(nats=0.0 if self.padded.vocabulary else None)
        for reference, other in pairs:
            total = total | difference(reference, other, vocabulary=self.padded.vocabulary)
        return total


def gather(subject: Subject, probe: Probe, first: Run, *, more: bool = False) -> Evidence:
    """Run the remaining passes. Raises `ProbeError` where the model cannot be run on them.

    ``more``: there is a pass to spare (none was run before a write), so one more text is run alone.
    """
    pads = probe.fill[::-1] if subject.pad_id is None else (subject.pad_id,)
    rows = probe.mixed()
    filled = first if probe.layout == "prefix" else forward(subject, rows, probe.fill)
    padded = forward(subject, rows, pads)
    alone: dict[tuple[int, ...], Run] = {}
    single = narrow = None
    if probe.layout == "prefix":
        # A state-space layer may skip the mask for a single row, so there the bare row stands alone.
        company = () if "recurrent" in subject.traits else (_short(probe),)
        single = forward(subject, (*company, _bare(probe)), pads, positions=False)
        length_matters = company and length_effect(padded, single) > limits(subject.dtype).certain
        if length_matters or _unmasked_differs(subject, probe, padded):
            # The row's length (sparse indexers) or the batch's mask matters, so a prefix is no reference.
            other = replace(probe, layout="alone")
            row = probe.alone(probe.padded("right", other.referenced()[0]))
            evidence = gather(subject, other, forward(subject, (row,), probe.fill, positions=False))
            evidence.first = first
            return evidence
    else:
        lengths = probe.referenced(more)
        for count in lengths:
            row = probe.alone(probe.padded("right", count))
            same = row == first.rows[0]
            alone[row.tokens] = first if same else _finite(forward(subject, (row,), pads, positions=False))
        rows = probe.narrow(lengths)
        if rows and "recurrent" not in subject.traits:
            narrow = forward(subject, rows, pads, positions=False)
        elif subject.takes_positions and subject.takes_mask:
            single = forward(subject, (_bare(probe),), pads, positions=False)
    evidence = Evidence(subject, probe, first, filled, padded, subject.pad_id, alone, single, narrow)
    if alone and _counts_otherwise(evidence):
        own = replace(subject, takes=subject.takes - {"position_ids"})
        return gather(own, probe, first, more=more)
    return evidence


# An unpadded batch takes another path there (Doge: transformers 4.57). Of 119 causal architectures of
# transformers 4.57 and 171 of 5.23 no other one does, so no other pays a pass for the question.
_OWN_MASK: Final = frozenset({"doge"})


def _unmasked_differs(subject: Subject, probe: Probe, padded: Run) -> bool:
    """True when a full text is not the same alone, where nothing is masked, as beside padded rows."""
    if subject.model_type not in _OWN_MASK:
        return False
    run = forward(subject, (probe.full()[0],), probe.fill)
    return difference(padded.at(0), run.at(0), vocabulary=False).worst > limits(subject.dtype).certain


def _counts_otherwise(evidence: Evidence) -> bool:
    """True when the position ids given here are not how the model counts: an unpadded text alone shows it.

    One further pass, only where right-padded rows differ although masked content does not reach them.
    """
    subject, certain = evidence.subject, evidence.zones.certain
    if not subject.takes_positions or evidence.swap("right").worst > certain:
        return False
    if evidence.against_alone("right").worst <= certain:
        return False
    own = next(iter(evidence.alone.values()))
    given = forward(subject, own.rows, evidence.probe.fill)
    return difference(own.at(0), given.at(0), vocabulary=False).worst > certain


def _short(probe: Probe) -> Row:
    """The first text alone, short."""
    return replace(probe.full()[0], tokens=probe.text(0, min(12, probe.width)))


def _bare(probe: Probe) -> Row:
    """The row that is padded on the left and gets no position ids; in the prefix layout a short one."""
    row = probe.padded("left", probe.longest)
    if probe.layout == "prefix":
        short = len(_short(probe).tokens)
        pads = min(3, short - 3)
        return replace(row, text=0, tokens=probe.text(0, short - pads), left=pads)
    return row


def length_effect(padded: Run, short: Run) -> float:
    """How far the same tokens differ between a short row alone and the start of a full one."""
    tokens = short.rows[0].tokens
    return difference(padded.at(0)[: len(tokens)], short.at(0), vocabulary=False).worst
