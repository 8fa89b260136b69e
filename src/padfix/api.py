"""The public verbs for live objects. Each connects the parts below it and holds no logic of its own.

Everything is *read -> state -> strategy -> plan -> write -> prove*.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from padfix.errors import VerificationError
from padfix.types import Finding, PadReport, PadState, Plan, Report, Side, Verdict

Init = Literal["mean", "zero"]


def inspect(model: Any, tok: Any) -> PadState:
    """Read every fact about padding that a tokenizer and a model hold. Nothing is changed.

    ``model``: a ``PreTrainedModel``, one inside PEFT, ``torch.compile`` or DDP, or None. ``tok``: a
    tokenizer or a processor that holds one. Raises `PadfixError` for anything else.

    >>> from padfix.testing import tiny_tokenizer
    >>> inspect(None, tiny_tokenizer(pad=None)).pad is None
    True
    """
    from padfix.read.live import inspect as read

    return read(model, tok)


def plan(
    model: Any,
    tok: Any,
    strategy: str = "auto",
    *,
    pad_token: str | None = None,
    init: Init | None = None,
    multiple_of: int | None = None,
) -> Plan:
    """What `ensure_pad` would do with these arguments, and why. Nothing is changed.

    Falsy when nothing needs to change. Raises `StrategyError` when the strategy does not apply.

    >>> from padfix.testing import tiny_tokenizer
    >>> plan(None, tiny_tokenizer(pad=None, eos="</s>"), "eos").pad.text
    '</s>'
    """
    return _planned(model, tok, strategy, pad_token, init, multiple_of)[1]


def ensure_pad(
    model: Any,
    tok: Any,
    strategy: str = "auto",
    *,
    pad_token: str | None = None,
    init: Init | None = None,
    multiple_of: int | None = None,
    verify: bool | Literal["warn"] = True,
    texts: Sequence[str] | None = None,
    dry_run: bool = False,
) -> PadReport:
    """Give the tokenizer a pad token that is safe, keep the model in step, and prove that nothing moved.

    ``model``: a ``PreTrainedModel`` (also inside PEFT, ``torch.compile`` or DDP), or None for the tokenizer
    alone. ``tok``: a tokenizer or a processor that holds one.

    ``strategy``: ``"auto"`` (the first that applies of: the pad the config declares, a token named as a
    pad, a reserved token, a spare embedding row, unk where no text can produce it, EOS), ``"eos"``,
    ``"unk"``, ``"reserved"``, ``"spare"``, or ``"add"`` (a new token and new rows). ``pad_token`` names
    exactly one token and is the only way to replace a pad that is valid. ``init``: how ``add`` fills
    new rows, ``"mean"`` (default) or ``"zero"``; given for a pad that exists, it overwrites that
    pad's own input row. ``multiple_of``: rows are rounded up to it (default: the largest power of
    two up to 64 that divides the rows now).

    ``verify=True`` proves the result and rolls everything back when a gating check fails, ``"warn"`` keeps
    it and warns, False skips the proof. ``texts``: your own probe texts. ``dry_run`` returns the plan.

    A second call changes nothing. ``report.undo()`` restores everything bit for bit.

    Raises `StrategyError` (nothing was touched) and `VerificationError` (everything was rolled back).

    >>> from padfix.testing import tiny_model, tiny_tokenizer
    >>> model, tok = tiny_model("llama"), tiny_tokenizer(pad=None, eos="</s>")
    >>> report = ensure_pad(model, tok, "add")
    >>> tok.pad_token, bool(report.verdict)
    ('[PAD]', True)
    """
    if verify not in (True, False, "warn"):
        raise ValueError(f"verify must be True, False or 'warn', found {verify!r}")
    verify = verify if verify == "warn" else bool(verify)  # 1 is as strict as True
    texts = _texts(texts)

    from padfix.read.live import inspect as read
    from padfix.read.live import text_tokenizer
    from padfix.read.live_tokenizer import tokens_of

    tokenizer = text_tokenizer(tok)
    tokens = tokens_of(tokenizer)
    before, wanted = _planned(model, tok, strategy, pad_token, init, multiple_of, tokens)
    if dry_run:
        return PadReport(before, wanted.project(before), wanted, None, _findings(before), False, dry_run=True)
    if not wanted:
        verdict = _prove(model, tok, None, None, texts) if verify else None
        return PadReport(before, before, wanted, verdict, _findings(before))

    from padfix.write.live import Transaction

    baseline = None
    if verify:
        from padfix.proof import capture

        baseline = capture(model, tok, texts=texts)
    transaction = Transaction(model, tok)
    try:
        transaction.apply(wanted)
        verdict = _prove(model, tok, baseline, wanted, texts) if verify else None
        if verdict is not None and not verdict and verify is True:
            raise _refusal(verdict, wanted)
        after = read(model, tok, tokens=tokens_of(tokenizer, earlier=tokens))
    except BaseException:
        transaction.rollback()
        raise
    undo = transaction.commit()
    if verdict is not None and not verdict:
        failed = "; ".join(f"{c.name}: {c.cause}" for c in verdict.failed)
        warnings.warn(f"padfix kept a fix whose proof failed ({failed})", stacklevel=2)
    return PadReport(before, after, wanted, verdict, _findings(after), changed=True, _undo=undo)


def verify(
    model: Any,
    tok: Any,
    *,
    texts: Sequence[str] | None = None,
    sides: Iterable[Side] = ("right", "left"),
    attention: bool = False,
    generate: bool = False,
) -> Verdict:
    """Prove, on a few forward passes, that a padded batch gives what each text gives alone.

    ``texts``: your own probe texts. ``sides``: the padding sides to try. ``attention=True`` also checks that
    the weight on every masked key is exactly 0.0 (``verdict.plot()`` draws it), ``generate=True`` that a
    batch generates what each prompt generates alone. Nothing is changed.

    The verdict is true when every gating check passed; it never raises by itself, see
    ``verdict.raise_for_failure()``.

    >>> from padfix.testing import tiny_model, tiny_tokenizer
    >>> bool(verify(tiny_model("llama", pad_token_id=0), tiny_tokenizer(pad="<pad>")))
    True
    """
    from padfix.proof import prove

    texts, sides = _texts(texts), _sides(sides)
    return prove(model, tok, texts=texts, sides=sides, attention=attention, generate=generate)


def sanity_check(
    model: Any,
    tok: Any,
    *,
    data: Any = None,
    collator: Any = None,
    task: str | None = None,
    step: bool = False,
) -> Report:
    """Decide from one real batch whether a training run will learn what it should.

    ``data``: a dataset, a list of features or texts, a ``DataLoader``, or one collated batch. ``collator``: the
    one that the run will use. ``step=True`` also proves a training step. Nothing is changed or consumed.
    """
    from padfix.training import sanity_check as check

    return check(model, tok, data=data, collator=collator, task=task, step=step)


def _texts(texts: Any) -> tuple[str, ...] | None:
    if texts is None:
        return None
    given = () if isinstance(texts, (str, bytes)) else tuple(texts)
    if isinstance(texts, (str, bytes)) or not all(isinstance(text, str) for text in given):
        raise ValueError(f"texts must be a list of strings, found {texts!r:.80}")
    return given


def _sides(sides: Any) -> tuple[Side, ...]:
    given = (sides,) if isinstance(sides, str) else tuple(sides)
    if wrong := [side for side in given if side not in ("right", "left")]:
        raise ValueError(f"sides must be of 'right' and 'left', found {wrong[0]!r}")
    return given


def _planned(
    model: Any,
    tok: Any,
    strategy: str,
    pad_token: str | None,
    init: Init | None,
    multiple_of: int | None,
    tokens: Mapping[str, int] | None = None,
) -> tuple[PadState, Plan]:
    from padfix import strategies
    from padfix.read.live import inspect as read

    state = read(model, tok, wanted=pad_token, measure_mean=init == "mean", tokens=tokens)
    return state, strategies.plan(state, strategy, pad_token=pad_token, init=init, multiple_of=multiple_of)


def _prove(model: Any, tok: Any, baseline: Any, wanted: Plan | None, texts: Sequence[str] | None) -> Verdict:
    from padfix.proof import prove

    return prove(model, tok, baseline=baseline, plan=wanted, texts=texts)


def _refusal(verdict: Verdict, wanted: Plan) -> VerificationError:
    lines = [
        f"{c.name}: {c.cause or 'failed'}" + (f" ({c.remedy})" if c.remedy else "") for c in verdict.failed
    ]
    return VerificationError(
        f"the pad {wanted.pad} ({wanted.rung}) does not keep this model's outputs; everything was rolled back. "
        + "; ".join(lines),
        verdict,
    )


def _findings(state: PadState) -> tuple[Finding, ...]:
    """What the linter says about the result, so that a kept but harmful pad is explained.

    Rules of use (PAD3xx: padding side, masks) are left to `sanity_check`, which sees the use.
    """
    from padfix.rules import check

    return check(state, ignore=("PAD3",))
