"""The forward passes of one proof, and the comparisons that the checks are made of.

Causal models: the mixed batch with ordinary ids at masked places (it holds the unpadded references too),
the same with the pad id, and one single row, left-padded, without position ids. With the pass before the
write that is four.

Others: the mixed batch with ordinary ids at masked places, the same with the pad id, and four narrower batches
(`padfix.proof.probes` has the table); six. After a write the first of them is not run: the pass before the
write held the same, and stands for it where no real token moved by a bit between the two.

Only where something differs, a further pass measures noise or tells two causes apart.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from padfix.proof.fingerprint import row_sums
from padfix.proof.probes import Probe, Row
from padfix.proof.run import ProbeError, Run, forward
from padfix.proof.subject import Subject, nested_configs
from padfix.proof.tolerances import Difference, Limits, difference, limits

_POSITIONED: Final = 1  # passes narrower than this leave position ids out, as a plain forward() call does
_NOWHERE: Final = -1  # an id that no row holds


def opening(subject: Subject, probe: Probe) -> tuple[Probe, Run]:
    """The mixed batch with ordinary ids at masked places, run before a write; and the layout that it showed to fit.

    A model that was taken for causal, but whose tokens see what follows them, gets the other layout.
    """
    if probe.layout == "prefix":
        run = _finite(forward(subject, probe.mixed(), probe.fill))
        if is_causal(subject, probe, run):
            return probe, run
        probe = replace(probe, layout="alone")
    with _without_pad(subject, only_none=True):
        return probe, _finite(forward(subject, probe.mixed(), probe.fill))


@contextlib.contextmanager
def _without_pad(subject: Subject, *, only_none: bool = False) -> Iterator[None]:
    """Let a classifier pool as it does for a text alone where its configs hold no pad id: at the last place.

    It refuses a batch then, so an id that no row holds stands in. ``only_none``: only where there is none.
    """
    configs = [(vars(config), dict(vars(config))) for config in nested_configs(subject.model.config)]
    try:
        for live, _ in configs if subject.pools_on_pad else ():
            if "pad_token_id" in live and (live["pad_token_id"] is None or not only_none):
                live["pad_token_id"] = _NOWHERE
        yield
    finally:
        for live, kept in configs:
            live.update(kept)


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


@dataclass(frozen=True, slots=True)
class Opening:
    """The opening run before a write: its vectors as far as the output matrix, and checksums of what came out."""

    run: Run
    width: int
    sums: tuple[Any, ...]

    @classmethod
    def of(cls, run: Run) -> Opening:
        """Keep a run without its logits, of which there may be 250 000 for each token."""
        values = [run.at(n) for n in range(len(run.rows))]
        return cls(run.before_head(), values[0].shape[-1], tuple(row_sums(value) for value in values))

    def stands_for(self, after: Run) -> bool:
        """True where no real token of any row moved by a bit, whatever masked places held before and hold now.

        Then a run after the write with the ids of this one could give nothing else. Where the output matrix has
        got new columns, a product with it may be summed in another order: the vectors that enter it decide. The
        rows of the positive control, whose mask lets all through, are meant to move.
        """
        if self.run.rows != after.rows or (self.run.values is None) != (after.values is None):
            return False
        closed = [n for n, row in enumerate(after.rows) if not row.kind.startswith("open")]
        if after.at(0).shape[-1] == self.width:
            return all(bool((row_sums(after.at(n)) == self.sums[n]).all()) for n in closed)
        now = after.before_head()
        found = [difference(self.run.at(n), now.at(n), vocabulary=False) for n in closed]
        return all(each.finite and each.worst == 0 for each in found)


@dataclass
class Evidence:
    """What the passes gave. Attributes are filled by `gather`; derived figures are computed once."""

    subject: Subject
    probe: Probe
    first: Run  # holds the unpadded rows that are comparable with those before the write
    filled: Run  # mixed batch, ordinary ids at masked places
    padded: Run  # mixed batch, the pad id there
    pad_id: int | None
    single: Run | None = None  # its last row is left-padded and bare
    positioned: tuple[Run, ...] = ()  # narrower batches with position ids; none in the prefix layout
    natural: tuple[Run, ...] = ()  # those without, narrowest last
    before: bool = False  # `filled` is the run before the write, as far as its output matrix

    @functools.cached_property
    def zones(self) -> Limits:
        """The limits of the model's dtype."""
        return limits(self.subject.dtype)

    def reference(self, row: Row) -> Any:
        """The vectors of the same text with no padding."""
        if row.kind.startswith("decoder"):
            return self.padded.at(0)[: len(row.decoder)]
        if self.probe.layout == "prefix":
            return self.padded.at(row.text)[: len(row.tokens)]
        return self.alone[row.tokens].of(self.probe.alone(row))

    @functools.cached_property
    def alone(self) -> dict[tuple[int, ...], Run]:
        """By its tokens, the run in which a shorter text has no padding; empty in the prefix layout."""
        return {run.rows[0].tokens: run for run in (*self.positioned, *self.natural)}

    def rows(self, side: str) -> tuple[tuple[Row, Run], ...]:
        """The padded rows of a side, each with the run that holds it.

        Where the model takes position ids, the left rows of a run without them are `bare_rows`.
        """
        runs = (self.padded, *self.positioned)
        if side == "right" or not self.subject.takes_positions:
            runs = (*runs, *self.natural)
        return tuple((row, run) for run in runs for row in run.rows if row.kind == side)

    def bare_rows(self) -> tuple[tuple[Row, Run], ...]:
        """Left-padded rows without position ids: the one that was run for it, and where the model takes some, all that
        had none."""
        runs = self.natural if self.subject.takes_positions else ()
        rows = tuple((row, run) for run in runs for row in run.rows if row.kind == "left")
        return rows if self.single is None else (*rows, (self.single.rows[-1], self.single))

    def against_alone(self, side: str) -> Difference:
        """Padded rows of a side against the text alone, the worst of all pad lengths."""
        rows = self.rows(side)
        decoder = getattr(self.subject.model.config, "decoder", None)
        if getattr(decoder, "is_decoder", True):  # a prefix is their reference, so the decoder must be causal
            rows += tuple((row, self.padded) for row in self.padded.rows if row.kind == f"decoder-{side}")
        return self._worst([(self.reference(row), run.of(row)) for row, run in rows])

    def row_against_alone(self, kind: str) -> Difference:
        """The one row of a kind against the text alone."""
        row = self.kind(kind)
        return self._worst([(self.reference(row), self.padded.of(row))])

    def swap(self, side: str) -> Difference:
        """The same rows with other ids at masked places: what the content of padding does to real tokens."""
        rows = [
            row
            for row in self.padded.rows
            if row.kind == side
            or (row.kind.startswith("decoder") and (side == "left" or row.kind == "decoder-right"))
        ]
        return self._swapped(rows)

    def _swapped(self, rows: list[Row]) -> Difference:
        padded = self.padded.before_head() if self.before else self.padded
        pairs = [(self.filled.of(row), padded.of(row)) for row in rows]
        return self._worst(pairs, vocabulary=padded.vocabulary)

    def kind(self, kind: str) -> Row:
        """The one row of this kind."""
        return next(row for row in self.padded.rows if row.kind == kind)

    @functools.cached_property
    def sensitive(self) -> bool:
        """The positive control: with an all-ones mask, or a mask that fails, padding shows."""
        return self._swapped([row for row in self.padded.rows if row.kind.startswith("open")]).worst > 0

    def mask_inert(self, side: str) -> bool:
        """True when the model does not look at the mask: padding shows under an all-ones mask, and just as much
        under the right one."""
        row, open_row = self.probe.padded(side, self.probe.longest), self.kind(f"open-{side}")
        same = self._worst([(self.padded.of(open_row), self.padded.of(row))])
        shows = self._swapped([open_row])
        return same.finite and same.worst <= self.zones.floor and shows.worst > 0

    @functools.cached_property
    def unmasked_differs(self) -> bool:
        """True when a text alone is not the same as beside a padded row of its own length; one further pass."""
        if not self.natural or not self.subject.takes_mask:
            return False
        reference = self.natural[-1]
        row = reference.rows[0]
        padded = replace(row, kind="right", tokens=row.tokens[:-1], right=1)
        run = forward(self.subject, (row, padded), self._pads, positions=False)
        return difference(reference.at(0), run.at(0), vocabulary=False).worst > self.zones.certain

    def bare(self) -> Difference | None:
        """Left-padded rows without position ids against the text alone; None: they were not run."""
        rows = self.bare_rows()
        return self._worst([(self.reference(row), run.of(row)) for row, run in rows]) if rows else None

    def only_single(self) -> bool:
        """True where a bare row that differs by itself does not as one of two; one further pass."""
        if self.single is None:
            return False
        row = self.single.rows[-1]
        batch = forward(self.subject, (row, row), self._pads, positions=False)
        return self._worst([(self.reference(row), batch.at(1))]).worst <= self.zones.floor

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
        row = self.padded.rows[0]
        one, three = (forward(self.subject, (row,) * n, self._pads, positions=False) for n in (1, 3))
        return difference(one.at(0), three.at(1), vocabulary=False).worst

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
        return _pads(self.subject, self.probe)

    def _worst(self, pairs: list[tuple[Any, Any]], *, vocabulary: bool | None = None) -> Difference:
        logits = self.padded.vocabulary if vocabulary is None else vocabulary
        total = Difference(nats=0.0 if logits else None)
        for reference, other in pairs:
            total = total | difference(reference, other, vocabulary=logits)
        return total


def gather(subject: Subject, probe: Probe, before: Opening | None = None) -> Evidence:
    """Run the remaining passes. Raises `ProbeError` where the model cannot be run on them.

    ``before``: the opening run before the write.
    """
    if probe.layout == "alone":
        return _gather_alone(subject, probe, before)
    probe, filled = opening(subject, probe)
    if probe.layout == "alone":
        return _gather_alone(subject, probe)
    pads = _pads(subject, probe)
    padded = forward(subject, probe.mixed(), pads)
    # A state-space layer may skip the mask for a single row, so there the bare row stands alone.
    company = () if "recurrent" in subject.traits else (_short(probe),)
    single = forward(subject, (*company, _bare(probe)), pads, positions=False)
    length_matters = company and length_effect(padded, single) > limits(subject.dtype).certain
    if length_matters or _unmasked_differs(subject, probe, padded):
        # The row's length (sparse indexers) or the batch's mask matters, so a prefix is no reference.
        evidence = _gather_alone(subject, replace(probe, layout="alone"))
        evidence.first = filled
        return evidence
    return Evidence(subject, probe, filled, filled, padded, subject.pad_id, single)


def _gather_alone(subject: Subject, probe: Probe, before: Opening | None = None) -> Evidence:
    pads = _pads(subject, probe)
    padded = _finite(forward(subject, probe.mixed(), pads))
    stands = before is not None and before.stands_for(padded)
    if before is not None and stands:
        filled = before.run
    else:
        with _without_pad(subject):
            filled = forward(subject, probe.mixed(), probe.fill)
    runs: dict[bool, list[Run]] = {True: [], False: []}
    for less in probe.lengths:
        given = less <= _POSITIONED
        try:
            run = forward(subject, probe.narrower(less), pads, positions=given)
        except ProbeError:
            if not given:
                raise
            given = False  # Reformer takes position ids only at lengths that its chunks divide
            run = forward(subject, probe.narrower(less), pads, positions=False)
        runs[given].append(_finite(run))
    evidence = Evidence(
        subject,
        probe,
        padded if stands else filled,
        filled,
        padded,
        subject.pad_id,
        positioned=tuple(runs[True]),
        natural=tuple(runs[False]),
        before=stands,
    )
    if subject.one_row_matters or (
        subject.takes_positions and subject.takes_mask and not evidence.bare_rows()
    ):
        evidence.single = forward(subject, (_bare(probe),), pads, positions=False)
    if _counts_otherwise(evidence):
        return _gather_alone(replace(subject, takes=subject.takes - {"position_ids"}), probe)
    return evidence


def _pads(subject: Subject, probe: Probe) -> tuple[int, ...]:
    """The ids at masked places: the pad's, or ordinary ones in another order where there is none."""
    return probe.fill[::-1] if subject.pad_id is None else (subject.pad_id,)


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
    if not subject.takes_positions or not evidence.natural or evidence.swap("right").worst > certain:
        return False
    if evidence.against_alone("right").worst <= certain:
        return False
    own = evidence.natural[-1]
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
    return replace(row, left=min(31, row.left))  # the pad length that its ruler has not


def length_effect(padded: Run, short: Run) -> float:
    """How far the same tokens differ between a short row alone and the start of a full one."""
    tokens = short.rows[0].tokens
    return difference(padded.at(0)[: len(tokens)], short.at(0), vocabulary=False).worst
