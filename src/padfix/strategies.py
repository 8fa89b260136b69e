"""Ways to obtain a pad token: a state goes in, a plan comes out. One function each.

Strategies are pure. They never see a model, only a `PadState`, so each can be previewed, audited and
property-tested before anything is written. Adding one is a function with ``@strategy("name")``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from padfix.edits import Init, agree, growth, pad_row_edit
from padfix.errors import StrategyError
from padfix.types import Edit, PadState, Plan, Token
from padfix.vetting import against, conflicts, fixed_config, identity, outside, row_meaning

Fault = Literal["missing", "no-id", "negative", "out-of-range", "eos"]

NEW_NAMES: Final = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|pad_token|>")

FAULTS: Final[dict[Fault, str]] = {
    "missing": "the tokenizer has no pad token",
    "no-id": "the pad token is a string without an id, so padding fails or silently uses unk",
    "negative": "the pad id is negative",
    "out-of-range": "the pad id is not below the rows of every vocabulary matrix, so a padded batch fails",
    "eos": "the pad token is the EOS token: a collator that masks labels by id then masks every EOS",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller asked for beside the strategy's name."""

    wanted: str | None = None
    init: Init | None = None
    multiple_of: int | None = None


Strategy = Callable[[PadState, Options], Plan]
STRATEGIES: Final[dict[str, Strategy]] = {}


def strategy(name: str) -> Callable[[Strategy], Strategy]:
    """Register a strategy under the name that users type."""

    def register(function: Strategy) -> Strategy:
        if name in STRATEGIES:
            raise ValueError(f"two strategies are called {name!r}")
        STRATEGIES[name] = function
        return function

    return register


def plan(
    state: PadState,
    strategy: str = "auto",
    *,
    pad_token: str | None = None,
    init: Init | None = None,
    multiple_of: int | None = None,
) -> Plan:
    """What ``strategy`` would do to this state, and why. Nothing is touched.

    A pad that is valid and distinct is kept by every strategy unless ``pad_token`` names another.
    Raises `StrategyError` when the strategy does not apply.

    >>> state = PadState(eos=Token("</s>", 2), n_tokens=3, max_id=2, next_id=3)
    >>> plan(state, "eos").pad
    Token(text='</s>', id=2)
    """
    options = _validated(strategy, pad_token, init, multiple_of)
    fault = pad_fault(state)
    wants_other = pad_token is not None and (state.pad is None or state.pad.text != pad_token)
    if fault is None and not wants_other:
        return _keep(state, strategy, options)
    if state.pad is not None and (reason := identity(state)) and (fault is None or fault == "eos"):
        if wants_other:
            raise StrategyError(
                f"the pad {state.pad} must stay: {reason}. No other pad keeps this model's outputs."
            )
        return Plan(strategy, "keep", state.pad, (), (f"the pad {state.pad} is kept: {reason}",))
    if fault == "eos" and strategy == "auto" and not wants_other:
        return _explain_eos(state)
    if not state.pad_settable:
        raise StrategyError(
            f"{state.tokenizer_class} does not let its pad token be set ({_fault_text(state, fault)}); "
            "use the pad it has, or load the tokenizer with another class"
        )
    if pad_token is not None and (wants_other or fault == "eos") and strategy not in ("add", "spare"):
        return _exactly(state, strategy, pad_token, options)
    made = _respecting_identity(state, STRATEGIES[strategy](state, options))
    lead = (f"{FAULTS[fault]}",) if fault is not None else ()
    return dataclasses.replace(made, strategy=strategy, reasons=(*lead, *made.reasons))


def pad_fault(state: PadState) -> Fault | None:
    """What is wrong with the pad that the tokenizer has, or None when it is valid and distinct.

    Equal to EOS means the tokenizer's own EOS, or the only end id where it has none. A pad that is
    merely in the list of stop ids is by design in many models (Qwen) and no fault.
    """
    pad = state.pad
    if pad is None:
        return "missing"
    if pad.id is None:
        return "no-id"
    if pad.id < 0:
        return "negative"
    if state.rows is not None and pad.id >= state.rows:
        return "out-of-range"
    if (state.eos is not None and pad.id == state.eos.id) or (state.eos is None and pad.id in state.eos_ids):
        return "eos"
    return None


# --- the strategies ---------------------------------------------------------------------------------


@strategy("auto")
def _auto(state: PadState, options: Options) -> Plan:
    """The first rung that applies; never changes the shape of a weight."""
    passed: list[str] = []
    for rung in (_declared, _named, _reserved, _spare, _unk):
        try:
            found = rung(state, options)
        except StrategyError as error:
            passed.append(str(error))
            continue
        return dataclasses.replace(found, reasons=(*found.reasons, *(f"not taken: {why}" for why in passed)))
    if state.head == "classifier" and (state.has("pools-on-pad") or state.has("pools-on-eos")):
        raise StrategyError(
            "no existing token can serve as pad, and EOS must not: this classifier pools by it, so a text that "
            "ends in EOS would be scored one token early. Use strategy='add' (a new token and one new row). "
            + _because(passed)
        )
    try:
        found = _eos(state, options)
    except StrategyError as error:
        raise StrategyError(f"{error}. Use strategy='add' (a new token). {_because(passed)}") from None
    return dataclasses.replace(found, reasons=(*found.reasons, *(f"not taken: {why}" for why in passed)))


@strategy("eos")
def _eos(state: PadState, options: Options) -> Plan:
    """Reuse the tokenizer's own EOS."""
    eos = state.eos
    if eos is None or eos.id is None:
        raise StrategyError("the tokenizer has no EOS token with an id, so it cannot be reused as pad")
    if why := outside(eos, state):
        raise StrategyError(f"EOS {eos} cannot be the pad: {why}")
    if options.init is not None:
        raise StrategyError(
            f"init={options.init!r} would overwrite the row of EOS {eos}, which the model needs"
        )
    if state.head == "classifier" and state.has("pools-on-eos"):
        raise StrategyError(
            f"EOS {eos} cannot be the pad of this classifier: it pools the EOS tokens and fails on a batch whose rows "
            "hold different numbers of them. Use strategy='add'"
        )
    reasons = [f"reuses the tokenizer's own EOS {eos}: no weight changes"]
    if len(state.eos_ids) > 1:
        reasons.append(f"of the end ids {list(state.eos_ids)} the tokenizer's own is taken")
    return Plan("eos", "eos", eos, agree(state, eos, as_eos=True), tuple(reasons), _eos_warnings(state, eos))


@strategy("unk")
def _unk(state: PadState, options: Options) -> Plan:
    """Reuse unk where the tokenizer can never emit it."""
    _refuse_init(options, "unk")
    return _existing(state, "unk", "unk", ())


@strategy("reserved")
def _reserved(state: PadState, options: Options) -> Plan:
    """Reuse a token that was kept free (reserved, unused, placeholder ...)."""
    return _existing(state, "reserved", "reserved", _overwrite(options))


@strategy("spare")
def _spare(state: PadState, options: Options) -> Plan:
    """Give a new token the id of an embedding row that exists and no token uses. Writes no row."""
    _refuse_init(options, "spare")
    if options.wanted is not None and (there := _already_there(state, options)) is not None:
        return there
    new = _new_token(state, options, "spare")
    assert new.id is not None
    rows = state.rows
    if rows is None:
        why = (
            "this model does not say which matrix its ids index, so"
            if state.live and state.has_model
            else "without a model"
        )
        raise StrategyError(f"no spare row: {why} the rows of the embeddings are unknown")
    if new.id >= rows:
        raise StrategyError(
            f"no spare row: the next id is {new.id} and the smallest vocabulary matrix has {rows} rows"
        )
    edits = (Edit("tokenizer", "added_token", None, new), *agree(state, new))
    return Plan(
        "spare",
        "spare",
        new,
        edits,
        (
            f"gives {new.text!r} the id {new.id}, one of {rows - new.id} rows that exist and no token uses: no weight changes",
        ),
        ("never call resize_token_embeddings(len(tok)) on this model: it would cut the spare rows off",),
    )


@strategy("add")
def _add(state: PadState, options: Options) -> Plan:
    """Add a new token, and grow every vocabulary-sized matrix that has no row for it."""
    if (there := _already_there(state, options)) is not None:
        return there
    new = _new_token(state, options, "add")
    init: Init = options.init or "mean"
    if state.live and state.has_model and state.input_rows is None:
        raise StrategyError(
            f"{state.model_type} has no input matrix with a row per token ({', '.join(state.architectures)}), so there is "
            "nothing to grow. Use 'eos', 'unk' or 'reserved'"
        )
    rows = tuple(growth(state, new, options.multiple_of))
    reasons = [f"adds {new.text!r} as id {new.id}"]
    if rows:
        grown = ", ".join(
            f"{e.key.replace('_', ' ')} {e.before} -> {e.after}" for e in rows if e.target == "weights"
        )
        reasons.append(f"grows {grown}, new rows: {_INIT[init]}")
    elif state.rows is not None:
        reasons.append(f"no matrix grows: all have at least {state.rows} rows")
    warnings: tuple[str, ...] = ()
    if not state.has_model:
        warnings = (
            f"there is no model here: its embeddings need at least {(new.id or 0) + 1} rows for this tokenizer",
        )
    edits = (Edit("tokenizer", "added_token", None, new), *rows, *agree(state, new))
    if options.init is not None and state.has_model and not any(e.key == "input_rows" for e in rows):
        edits = (
            *edits,
            Edit("weights", "pad_row", "kept", options.init),
        )  # a spare row that is there already
    return Plan("add", "add", new, edits, tuple(reasons), warnings, init)


_INIT: Final = {
    "mean": "the mean of the existing rows",
    "zero": "zero in the input matrix, the mean of the existing rows in an untied output matrix",
}


def _declared(state: PadState, options: Options) -> Plan:
    return _existing(state, "config", "config", _overwrite(options))


def _named(state: PadState, options: Options) -> Plan:
    return _existing(state, "named", "named", _overwrite(options))


def _exactly(state: PadState, name: str, text: str, options: Options) -> Plan:
    """The token that the caller named, if it is in the vocabulary and nothing speaks against it."""
    if state.eos is not None and state.eos.text == text:
        return dataclasses.replace(_eos(state, options), strategy=name)
    found = next((c for c in state.candidates if c.kind == "wanted" and c.token.text == text), None)
    if found is None:
        rows, new = state.rows, state.next_id
        if rows is not None and new is not None and new < rows:
            return dataclasses.replace(_spare(state, options), strategy=name)
        raise StrategyError(
            f"pad_token={text!r} is not in the vocabulary of {state.tokenizer_class or 'the tokenizer'} "
            f"({state.n_tokens} tokens); use strategy='add' to add it, which needs a new embedding row"
        )
    reasons = against(found, state)
    if reasons:
        raise StrategyError(f"pad_token={text!r} cannot be the pad: {'; '.join(reasons)}")
    edits = (*agree(state, found.token), *pad_row_edit(state, found.token, options.init))
    return Plan(name, "named", found.token, edits, (f"uses {found.token}, as asked",))


# --- shared parts -----------------------------------------------------------------------------------


def _keep(state: PadState, name: str, options: Options) -> Plan:
    assert state.pad is not None
    reasons = [f"keeps the pad {state.pad}: it is valid and distinct"]
    edits = agree(state, state.pad)
    if options.init is not None and state.has_model:
        if meaning := row_meaning(state, state.pad):
            if name != "add":
                raise StrategyError(
                    f"init={options.init!r} would overwrite the input row of {state.pad}: {meaning}"
                )
            reasons.append(f"no row is added, and its own row stays: {meaning}")
        else:
            row = tuple(pad_row_edit(state, state.pad, options.init))
            edits = (*edits, *row)
            done = "sets its own input row to" if row else "its own input row is already the"
            reasons.append(f"{done} {options.init}, as asked")
    if any(e.key == "pad_token_id" for e in edits):
        reasons.append("brings the configs in step with it")
    return Plan(name, "keep", state.pad, edits, tuple(reasons), (), options.init)


def _explain_eos(state: PadState) -> Plan:
    """auto keeps a pad that works; EOS as pad works, and the user must know what it means."""
    assert state.pad is not None
    better = next(
        (c for c in state.candidates if c.kind in ("config", "named", "reserved") and not against(c, state)),
        None,
    )
    if better is not None:
        way = f"pad_token={better.token.text!r}"
    elif state.rows is not None and state.next_id is not None and state.next_id < state.rows:
        way = "strategy='spare'"
    else:
        way = "strategy='add'"
    reasons = (
        f"keeps the pad {state.pad}, which is the EOS token: it works with an attention mask, and many makers ship it so",
        f"to train with a pad of its own, name the repair: {way}",
    )
    return Plan("auto", "keep", state.pad, (), reasons, _eos_warnings(state, state.pad, kept=True))


def _existing(state: PadState, kind: str, rung: str, extra: tuple[Init, ...]) -> Plan:
    """Adopt the first candidate of this kind that nothing speaks against."""
    tried: list[str] = []
    for candidate in state.candidates:
        if candidate.kind != kind:
            continue
        reasons = against(candidate, state)
        if not reasons:
            token = candidate.token
            edits = (*agree(state, token), *(e for init in extra for e in pad_row_edit(state, token, init)))
            why = f"; {candidate.evidence[0]}" if candidate.evidence else ""
            return Plan(
                rung,
                rung,
                token,
                edits,
                (f"reuses {token}{why}: no weight changes" if not extra else f"reuses {token}{why}",),
            )
        tried.append(f"{candidate.token}: {', '.join(reasons)}")
    label = {"config": "no usable pad declared by the config", "named": "no usable token named as a pad",
             "reserved": "no usable reserved token", "unk": "no usable unk token"}[kind]  # fmt: skip
    shown = tried[:3] + ([f"and {len(tried) - 3} more"] if len(tried) > 3 else [])
    raise StrategyError(f"{label}" + (f" ({'; '.join(shown)})" if shown else ""))


def _respecting_identity(state: PadState, made: Plan) -> Plan:
    """A tokenizer without a pad may only get the one that such an architecture was built with."""
    own = state.text_pad_id
    if (why := identity(state)) and fixed_config(state, own) and (made.pad is None or made.pad.id != own):
        raise StrategyError(
            f"the pad must be the id {own} that the config declares, because {why}; {made.pad} would change the model's "
            f"outputs. Set the tokenizer's pad to its token {own}, or load the tokenizer that belongs to this model"
        )
    return made


def _already_there(state: PadState, options: Options) -> Plan | None:
    """The token that `add` would add, when the vocabulary has it: used as it is, nothing is added."""
    text = options.wanted or NEW_NAMES[0]
    found = next(
        (c for c in state.candidates if c.token.text == text and c.kind in ("wanted", "named")), None
    )
    if found is None:
        return None
    reasons = against(found, state)
    if not reasons:
        edits = (*agree(state, found.token), *pad_row_edit(state, found.token, options.init))
        return Plan(
            "add",
            "named",
            found.token,
            edits,
            (f"{found.token} is in the vocabulary already, so nothing is added",),
        )
    if options.wanted is None:
        return None  # another name will do
    raise StrategyError(
        f"pad_token={text!r} is in the vocabulary and cannot be the pad: {'; '.join(reasons)}"
    )


def _new_token(state: PadState, options: Options, name: str) -> Token:
    if not state.serializable:
        raise StrategyError(
            f"strategy={name!r} needs a tokenizer whose backend can be serialised, so that the new token's id after a "
            f"reload is known; {state.tokenizer_class} cannot be. Use 'eos', 'unk' or 'reserved'"
        )
    if state.next_id is None:
        raise StrategyError(
            f"strategy={name!r}: the id of a new token is not known for {state.tokenizer_class}"
        )
    taken = {c.token.text for c in state.candidates}
    if options.wanted is not None:
        new = Token(options.wanted, state.next_id)
    else:
        new = Token(next((n for n in NEW_NAMES if n not in taken), f"<|pad_{state.next_id}|>"), state.next_id)
    # Mllama's config gives 128256, the id after its last token, to the image
    meanings = [why for why in conflicts(new, state) if why != outside(new, state)]
    if meanings:
        raise StrategyError(
            f"strategy={name!r}: a new token gets the id {new.id}, which is taken: {'; '.join(meanings)}"
        )
    return new


def _overwrite(options: Options) -> tuple[Init, ...]:
    return (options.init,) if options.init is not None else ()


def _refuse_init(options: Options, name: str) -> None:
    if options.init is not None:
        raise StrategyError(
            f"init={options.init!r} does not go with {name!r}, which writes no row; use strategy='add'"
        )


def _eos_warnings(state: PadState, eos: Token, *, kept: bool = False) -> tuple[str, ...]:
    notes = [
        f"pad = EOS: transformers' DataCollatorForLanguageModeling masks labels by id, so it masks every {eos.text!r} and the "
        "model never learns to stop; mask by position (padfix.positional_labels) or use a pad of its own"
    ]
    if state.head == "causal" and state.has("padding-idx-from-config"):
        notes.append(
            "config.pad_token_id is EOS too: at a load it becomes padding_idx = EOS, and that input row never trains. "
            "strategy='eos' takes it out of the config"
            if kept and state.text_pad_id == eos.id
            else "config.pad_token_id stays None: written there it returns after a reload as padding_idx = EOS, and that input row "
            "never trains again. A Trainer may write the id back; padfix.sanity_check tells"
        )
    if state.head == "classifier":
        notes.append(
            "this classifier pools the last token that is not the pad: a text that ends in EOS is scored one token early"
        )
    return tuple(notes)


def _because(passed: list[str]) -> str:
    return "Not taken: " + "; ".join(passed) if passed else ""


def _fault_text(state: PadState, fault: Fault | None) -> str:
    return FAULTS[fault] if fault is not None else f"its pad is {state.pad}"


_LARGEST_MULTIPLE = 2**16


def _validated(name: Any, pad_token: Any, init: Any, multiple_of: Any) -> Options:
    if not isinstance(name, str) or name not in STRATEGIES:
        raise StrategyError(f"unknown strategy {name!r}; there are {', '.join(map(repr, STRATEGIES))}")
    if init is not None and (not isinstance(init, str) or init not in ("mean", "zero")):
        raise StrategyError(f"unknown init {init!r}; there are 'mean' and 'zero'")
    if multiple_of is not None and (
        isinstance(multiple_of, bool) or not isinstance(multiple_of, int) or multiple_of < 1
    ):
        raise StrategyError(f"multiple_of must be a positive integer, found {multiple_of!r}")
    if multiple_of is not None and multiple_of > _LARGEST_MULTIPLE:
        raise StrategyError(
            f"multiple_of must be at most {_LARGEST_MULTIPLE}, found {multiple_of}: it is the step that rows are rounded "
            "up to (8 to 256 suit the hardware), not a number of rows"
        )
    if pad_token is not None and (not isinstance(pad_token, str) or not pad_token.strip()):
        raise StrategyError(f"pad_token must be a non-empty string, found {pad_token!r}")
    if (
        pad_token is not None
        and not pad_token.isprintable()
        and any("\ud800" <= c <= "\udfff" for c in pad_token)
    ):
        raise StrategyError(
            f"pad_token {pad_token!r} holds half a character (a lone surrogate), which no file can store"
        )
    checked: Init | None = "mean" if init == "mean" else "zero" if init == "zero" else None
    return Options(pad_token, checked, multiple_of)
