"""The nouns of padfix: frozen records of facts, plans, findings and proofs.

Nothing here holds a tokenizer, a tensor or a file handle, so every rule and every strategy is a pure
function of these records and gives the same answer in a notebook, on disk and on a hub.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from padfix.errors import PadfixError, VerificationError

Severity = Literal["error", "warning", "info"]
Side = Literal["right", "left"]
Head = Literal["causal", "masked", "seq2seq", "classifier", "token-classifier", "base"]


class Absent(enum.Enum):
    """A key that is not there, told apart from a key that is ``null``."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class BadValue:
    """Something that is not an id where an id belongs: a list, a string, a boolean, a fraction.

    ``kind`` is the JSON or Python type's name, ``text`` its bounded ``repr`` (at most 80 characters).

    >>> BadValue("list", "[2, 3]")
    BadValue(kind='list', text='[2, 3]')
    """

    kind: str
    text: str


ConfigId = int | None | Absent | BadValue
"""What a ``*_token_id`` key of a config can hold."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its string, and its id, or None where the string is not in the vocabulary.

    >>> Token("<pad>", 0)
    Token(text='<pad>', id=0)
    """

    text: str
    id: int | None

    def __str__(self) -> str:
        return f"{self.text!r} ({'no id' if self.id is None else self.id})"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An existing token that might serve as pad, with the evidence for and against.

    ``kind`` is the rung it belongs to: ``"config"``, ``"named"``, ``"reserved"``, ``"unk"``, ``"eos"``, or
    ``"wanted"`` for a token that the caller named with ``pad_token=``.
    ``refused`` says why it may not be used (empty: it may); ``evidence`` what speaks for it.
    """

    token: Token
    kind: Literal["config", "named", "reserved", "unk", "eos", "wanted"]
    evidence: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def safe(self) -> bool:
        """True when nothing speaks against it."""
        return not self.refused


@dataclass(frozen=True, slots=True)
class PadRow:
    """The pad's own input embedding row, measured on live weights (all norms are L2, in fp32)."""

    norm: float | None  # None: foretold by a plan, not measured
    median_norm: float | None
    zero: bool
    finite: bool
    duplicate_of: int | None = None
    mean: bool | None = None  # equals the mean of all other rows; None: not measured


@dataclass(frozen=True, slots=True)
class BackendPadding:
    """The ``padding`` block of ``tokenizer.json``, which Rust, Java and Go consumers honour."""

    pad_id: int
    pad_token: str
    direction: str
    fixed_length: int | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a repository a fact was read: a file, a dotted key, a 1-based line."""

    file: str
    key: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PadState:
    """Every fact about padding that a rule or a strategy needs, and nothing else.

    The same record is made from live objects, from a folder and from a hub repository
    (`portable` is what the three agree on). Row counts are in rows, ids are token ids.
    """

    # where from
    source: str = ""
    has_model: bool = False  # a live model, or a repository with weights or a config
    live: bool = False

    # the tokenizer
    tokenizer_class: str | None = None
    pad: Token | None = None
    eos: Token | None = None
    unk: Token | None = None
    bos: Token | None = None
    specials: tuple[tuple[str, Token], ...] = ()  # (role, token): cls, sep, mask, additional, image ...
    n_tokens: int | None = None  # len(tok)
    max_id: int | None = None
    holes: int = 0  # ids below max_id that no token has
    next_id: int | None = None  # the id that a new token has after save and reload
    padding_side: Side = "right"
    pad_settable: bool = True
    serializable: bool = True  # the backend survives a JSON round trip, so a new id can be foretold
    chat_template: bool = False
    backend_padding: BackendPadding | None = None
    unk_emitted: bool | None = None  # can ordinary text produce unk? None: not known
    appends_eos: bool | None = None  # does the post-processor end a text with EOS?
    pad_is_added: bool | None = (
        None  # files: the pad is declared as an added token, not only in the base vocabulary
    )
    # what else gives the pad's id: "text" (merges or pieces), "post-processor", "chat-template"; None: not known
    pad_uses: tuple[str, ...] | None = None
    candidates: tuple[Candidate, ...] = ()
    pad_by_major: tuple[tuple[str, str | None], ...] = ()  # files: pad string per transformers major

    # the configs
    config_pad_id: ConfigId = ABSENT
    text_config_pad_ids: tuple[
        tuple[str, ConfigId], ...
    ] = ()  # (dotted path, value), every nested config with a vocabulary
    generation_pad_id: ConfigId = ABSENT
    config_eos_ids: tuple[int, ...] = ()
    generation_eos_ids: tuple[int, ...] = ()
    config_bos_id: ConfigId = ABSENT
    config_token_ids: tuple[tuple[str, int], ...] = ()  # other *_token_id / *_token_index keys, dotted
    vocab_size: int | None = None  # of the text config
    has_generation_config: bool = False

    # the architecture
    model_type: str | None = None
    architectures: tuple[str, ...] = ()
    head: Head | None = None
    is_encoder_decoder: bool = False
    traits: tuple[str, ...] = ()  # sorted; the names are in `padfix.traits`

    # the vocabulary-sized matrices
    input_rows: int | None = None
    output_rows: int | None = None
    output_bias_rows: int | None = None
    other_rows: tuple[tuple[str, int], ...] = ()  # per-layer tables and the like: (tensor name, rows)
    tied: bool | None = None
    quantized: str | None = None  # quantisation method
    adapter: str | None = None  # "lora", ...
    adapter_rows: tuple[tuple[str, int], ...] = ()  # vocabulary matrices stored in an adapter

    # live weights only
    padding_idx: int | None = None
    pad_row: PadRow | None = None
    dtype: str | None = None
    device: str | None = None
    sharded: bool = False
    offloaded: bool = False
    wrappers: tuple[str, ...] = ()

    # files only: where each fact was read, as (field name, place)
    locations: tuple[tuple[str, Location], ...] = ()
    problems: tuple[str, ...] = ()  # what could not be read, in plain words

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Every id that ends a text, sorted: the tokenizer's, config's and generation config's."""
        own = (self.eos.id,) if self.eos is not None and self.eos.id is not None else ()
        return tuple(sorted({*own, *self.config_eos_ids, *self.generation_eos_ids}))

    @property
    def rows(self) -> int | None:
        """Rows that every vocabulary matrix has: an id must be below this to be usable."""
        known = [n for n in (self.input_rows, self.output_rows, self.output_bias_rows) if n is not None]
        return min(known, default=None)

    @property
    def text_pad_id(self) -> ConfigId:
        """The pad id that the model's own code reads: the text config's, else the top level's."""
        return self.text_config_pad_ids[0][1] if self.text_config_pad_ids else self.config_pad_id

    @property
    def has_tokenizer(self) -> bool:
        """True when there is a tokenizer, also where so little of it was read that its size is not known."""
        return self.n_tokens is not None or self.tokenizer_class is not None

    def has(self, trait: str) -> bool:
        """True when the architecture has this trait."""
        return trait in self.traits

    def where(self, fact: str) -> Location | None:
        """The place in the repository where a field was read, if it was read from files."""
        return next((place for name, place in self.locations if name == fact), None)

    def portable(self) -> PadState:
        """The part that live objects, a folder and a hub agree on.

        Drops what only one of them knows (source, places, live weights, wrappers) and turns an absent
        key into None: transformers 5 writes nulls where 4.57 omits the key, and a live model always
        has a generation config.
        """
        blank = {name: _DEFAULTS[name] for name in _NOT_PORTABLE}
        return dataclasses.replace(
            self,
            **blank,
            config_pad_id=_present(self.config_pad_id),
            config_bos_id=_present(self.config_bos_id),
            generation_pad_id=_present(self.generation_pad_id),
            text_config_pad_ids=tuple((path, _present(v)) for path, v in self.text_config_pad_ids),
            config_token_ids=tuple(sorted(self.config_token_ids)),  # a saved file is sorted, a class is not
            # transformers 5 renames tensors when it saves: only the last part of a name is the same
            other_rows=tuple(sorted((_last_part(name), rows) for name, rows in self.other_rows)),
        )

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values; an absent key is the string ``"absent"``."""
        return _plain_dict(self)


_NOT_PORTABLE: Final = (
    "source", "has_model", "live", "pad_settable", "serializable", "next_id", "pad_is_added", "pad_uses", "backend_padding", "pad_by_major",
    "has_generation_config", "adapter", "adapter_rows", "padding_idx", "pad_row", "dtype", "device",
    "sharded", "offloaded", "wrappers", "locations", "problems",
)  # fmt: skip
_DEFAULTS: Final[dict[str, Any]] = {f.name: f.default for f in dataclasses.fields(PadState)}


def _last_part(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


def _present(value: ConfigId) -> ConfigId:
    return None if value is ABSENT else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one training step on a batch measured (evaluation mode, losses in nats, gradients as max |value|).

    ``pad_gradient`` and ``text_gradient`` are taken at the output of the input embedding, so tied weights
    do not blur them; ``end_gradient`` is that of the EOS positions, ``end_row_gradient`` what of it arrives
    in the EOS rows of the table. None: could not be measured.
    """

    loss: float
    loss_alone: float  # the token-weighted mean of the rows' losses, each row alone and unpadded
    limit: float  # of their difference, by dtype
    pad_gradient: float | None = None
    pad_place: tuple[int, int] | None = None  # (row, position) of the largest
    text_gradient: float | None = None
    end_gradient: float | None = None
    end_row_gradient: float | None = None
    router_change: float | None = None  # of the router's loss when ids at masked positions change


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One or more collated batches of a training run, as plain tuples: what the training rules read.

    ``ids``, ``mask``, ``position_ids`` and ``labels`` have one tuple of ints per row, ``(T,)`` each; rows of
    different batches may differ in T. ``labels`` are token labels (-100: not trained); for ``seq2seq`` they
    belong to the target and have their own length. ``texts`` says where the real text lies in each row, as
    half-open ``(start, stop)`` pairs: one per row, several where texts are packed; everything outside is
    padding. ``texts_from`` is where that knowledge comes from, the most reliable first: the user's own
    ``"rows"`` before collation, the ``"positions"`` of a packed row, the ``"mask"``, the run of ``"pad"`` ids.
    """

    ids: tuple[tuple[int, ...], ...]
    mask: tuple[tuple[int, ...], ...] | None = None  # 0: hidden
    labels: tuple[tuple[int, ...], ...] | None = None
    position_ids: tuple[tuple[int, ...], ...] | None = None
    texts: tuple[tuple[tuple[int, int], ...], ...] = ()
    texts_from: Literal["rows", "positions", "mask", "pad"] = "mask"
    objective: Literal["causal", "masked", "seq2seq", "tokens", "rows"] = "causal"
    packed: bool = False
    cut: tuple[bool, ...] = ()  # per row: its text (seq2seq: its target) ends at a maximum length
    names: tuple[str, ...] = ()  # per row, as findings call it: "row 3", "row 0 (chosen)"
    decoded: tuple[tuple[int, str], ...] = ()  # every id of the batch and its token
    not_finite: tuple[int, ...] | None = None  # rows with a NaN or infinite logit; None: not run
    router_loss: bool = False  # a mixture of experts trains its router's load-balancing loss
    step: Step | None = None  # what a training step on it measured; None: not run
    collator: str = ""  # the class or function that made it

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of real text per row."""
        return tuple(sum(stop - start for start, stop in spans) for spans in self.texts)

    def text_of(self, token_id: int) -> str:
        """The token string of an id, as far as the tokenizer knows it."""
        return next((text for known, text in self.decoded if known == token_id), f"id {token_id}")


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one place.

    ``target``: ``"tokenizer"``, ``"config"``, ``"config.<path>"`` (a nested config),
    ``"generation_config"``, ``"weights"`` or ``"model"``. ``key`` and the two values per target:

    * tokenizer: ``added_token`` (None, Token), ``pad_token`` (Token | None, Token)
    * config, config.<path>, generation_config: ``pad_token_id`` (ConfigId, int | None),
      ``vocab_size`` (int, int)
    * weights: ``input_rows``, ``output_rows``, ``output_bias_rows`` (int, int); ``pad_row``
      ("kept", "zero" | "mean"): overwrite the pad's own input row
    * model: ``padding_idx`` (int, int | None)
    """

    target: str
    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.target}.{self.key}: {_brief(self.before)} -> {_brief(self.after)}"


def _brief(value: object) -> str:
    return str(value) if isinstance(value, Token) else repr(value)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a strategy would do, and why. Falsy when nothing needs to change.

    ``rung`` is the rung that ``auto`` took (``keep``, ``config``, ``named``, ``reserved``, ``spare``,
    ``unk``, ``eos``, ``add``); ``reasons`` says why, and why the earlier rungs did not apply;
    ``warnings`` what the user must know before training or serving with it.
    """

    strategy: str
    rung: str
    pad: Token | None
    edits: tuple[Edit, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    init: Literal["mean", "zero"] | None = None

    def __bool__(self) -> bool:
        return bool(self.edits)

    def project(self, state: PadState) -> PadState:
        """The state after the plan, without touching anything."""
        from padfix.projection import project

        return project(self, state)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return _plain_dict(self)

    def __str__(self) -> str:
        from padfix.render.plain import plan_text

        return plan_text(self)

    def _repr_html_(self) -> str:
        from padfix.render.notebook import plan_html

        return plan_html(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a rule found: what, where, and the command or line that fixes it."""

    code: str
    name: str
    severity: Severity
    message: str
    file: str | None = None
    key: str | None = None
    line: int | None = None
    fix: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return _plain_dict(self)


@dataclass(frozen=True, slots=True)
class Skip:
    """Something that could not be looked at, and why. A value, not an exception."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What an audit or a sanity check found in one source."""

    source: str
    state: PadState | None
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skip, ...] = ()

    @property
    def ok(self) -> bool:
        """True when no finding is an error."""
        return not any(f.severity == "error" for f in self.findings)

    def __repr__(self) -> str:
        counts = {
            level: sum(f.severity == level for f in self.findings) for level in ("error", "warning", "info")
        }
        return f"<Report: {self.source}, {counts}, {len(self.skipped)} skipped>"

    def raise_for_errors(self) -> Report:
        """Raise `PadfixError` when a finding is an error, else return the report itself."""
        errors = [f for f in self.findings if f.severity == "error"]
        if errors:
            raise PadfixError("\n".join(f"{f.code} {f.name}: {f.message}" for f in errors))
        return self

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return _plain_dict(self)

    def __str__(self) -> str:
        from padfix.render.plain import report_text

        return report_text(self)

    def _repr_html_(self) -> str:
        from padfix.render.notebook import report_html

        return report_html(self)


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the proof, and its answer.

    ``gating``: its failure undoes the fix. ``observed`` and ``limit`` are in ``unit``
    (``"max |Δlogit|"``, ``"nats"``, ``"probability"``, ...). ``cause`` and ``remedy`` say what a
    failure means and what to do; both are None on a pass.
    """

    name: str
    passed: bool
    gating: bool
    observed: float | None = None
    limit: float | None = None
    unit: str = ""
    cause: str | None = None
    remedy: str | None = None
    detail: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The check as plain JSON values."""
        return _plain_dict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The proof's answer. True when every gating check passed.

    ``untested`` names what was not looked at and why (a dtype, a device, a check without a control).
    ``attention``: with ``attention=True``, the picture's data for `plot`.
    """

    checks: tuple[Check, ...] = ()
    untested: tuple[str, ...] = ()
    attention: Any = field(default=None, repr=False, compare=False)

    def __bool__(self) -> bool:
        return all(c.passed for c in self.checks if c.gating)

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check named {name!r}; there are {', '.join(c.name for c in self.checks)}")

    @property
    def failed(self) -> tuple[Check, ...]:
        """The gating checks that failed."""
        return tuple(c for c in self.checks if c.gating and not c.passed)

    def raise_for_failure(self) -> Verdict:
        """Raise `VerificationError` when a gating check failed, else return the verdict itself."""
        if self.failed:
            lines = (f"{c.name}: {c.cause or 'failed'}; {c.remedy or ''}".rstrip("; ") for c in self.failed)
            raise VerificationError("\n".join(lines), self)
        return self

    def plot(self, path: str | None = None) -> str:
        """Draw the attention heat map (needs ``attention=True``); returns SVG, or writes SVG or PNG."""
        from padfix.proof.picture import plot

        return plot(self, path)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain JSON values."""
        return _plain_dict(self)

    def __str__(self) -> str:
        from padfix.render.plain import verdict_text

        return verdict_text(self)

    def _repr_html_(self) -> str:
        from padfix.render.notebook import verdict_html

        return verdict_html(self)


@dataclass(frozen=True, repr=False)
class PadReport:
    """What `ensure_pad` found, did and proved."""

    before: PadState
    after: PadState
    plan: Plan
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    changed: bool = False
    dry_run: bool = False
    _undo: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        proof = "not run" if self.verdict is None else "passed" if self.verdict else "failed"
        return f"<PadReport: pad {self.after.pad}, {self.plan.rung}, changed {self.changed}, proof {proof}>"

    def undo(self) -> None:
        """Put tokenizer, weights and configs back to what they were before the fix.

        Raises `PadfixError` when nothing was changed, when it was undone already, or when the
        weights were trained since.
        """
        if self._undo is None:
            raise PadfixError("nothing to undo: this call changed nothing")
        self._undo()

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: everything but the undo, which belongs to the objects of this process."""
        return {**vars(self), "_undo": None if self._undo is None else _left_behind}

    def __copy__(self) -> PadReport:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> PadReport:
        return self  # a frozen record; copied through `__getstate__` it would lose its undo

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        shown = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.name.startswith("_")
        }
        return {name: to_plain(value) for name, value in shown.items()}

    def __str__(self) -> str:
        from padfix.render.plain import pad_report_text

        return pad_report_text(self)

    def _repr_html_(self) -> str:
        from padfix.render.notebook import pad_report_html

        return pad_report_html(self)


def _left_behind() -> None:
    raise PadfixError(
        "cannot undo: this report was pickled, and what undoes the fix stayed with the tokenizer and the model that were "
        "fixed; call undo() on the report that ensure_pad returned, or load the tokenizer and the model again"
    )


def _plain_dict(record: object) -> dict[str, Any]:
    plain = to_plain(record)
    assert isinstance(plain, dict)
    return plain


def to_plain(value: Any) -> Any:
    """Any of these records as JSON values: dicts, lists, strings, numbers, booleans, None.

    >>> to_plain(Token("</s>", 2))
    {'text': '</s>', 'id': 2}
    """
    if isinstance(value, Absent):
        return value.value
    if isinstance(value, Verdict):
        return {"checks": to_plain(value.checks), "untested": to_plain(value.untested), "passed": bool(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [to_plain(v) for v in value]
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value
