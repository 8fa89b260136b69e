"""`PadCheckCallback`: `sanity_check` on a trainer's own model, tokenizer and dataloader, before its first step."""

from __future__ import annotations

import logging
import warnings
from typing import Any, Literal

# At the top, unlike elsewhere: a base class is needed when the class is made. `padfix` loads this module
# only when PadCheckCallback is asked for.
from transformers import TrainerCallback

from padfix.errors import PadfixError
from padfix.types import Report

logger = logging.getLogger("padfix")

LENGTH_ARGUMENTS = (
    "max_length",
    "max_seq_length",
    "max_prompt_length",
    "max_completion_length",
    "cutoff_len",
)


class PadCheckCallback(TrainerCallback):  # type: ignore[misc]
    """Check padding on a few of the trainer's own rows, and stop before step 1 when training would fail.

    For ``transformers.Trainer`` and what is built on it, such as TRL's ``SFTTrainer``, ``DPOTrainer`` and
    ``RewardTrainer``. The check runs the trainer's dataset through its collator, without its dataloader's
    iterator and without moving random state: training goes on exactly as without it, bit for bit.

    ``on_error``: ``"raise"`` stops with a `PadfixError` that holds the whole report; ``"warn"`` warns and
    trains on. Warnings and notes are logged to the ``padfix`` logger. In distributed training rank 0
    checks and reports, and every rank stops. ``tok`` is needed only where the trainer has no
    ``processing_class``; ``task``, ``step`` and ``rows`` are those of `sanity_check`. ``report`` holds the
    last report on rank 0.

    >>> callback = PadCheckCallback(on_error="warn")
    >>> callback.report is None  # Trainer(model, args, ..., callbacks=[callback]).train()
    True
    """

    def __init__(
        self,
        tok: Any = None,
        *,
        on_error: Literal["raise", "warn"] = "raise",
        task: str | None = None,
        step: bool = False,
        rows: int = 8,
    ) -> None:
        if on_error not in ("raise", "warn"):
            raise PadfixError(f"on_error is {on_error!r}; it must be 'raise' or 'warn'")
        self.tok = tok
        self.on_error = on_error
        self.task = task
        self.step = step
        self.rows = rows
        self.report: Report | None = None

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        processing_class: Any = None,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Look before the first step; see the class."""
        outcome = ""
        if getattr(state, "is_world_process_zero", True):
            # Whatever happens on rank 0, the other ranks wait for its outcome.
            try:
                outcome = self._look(args, model, processing_class, train_dataloader)
            except BaseException as error:
                _tell_all(f"rank 0 could not check padding: {type(error).__name__}: {error}")
                raise
        outcome = _tell_all(outcome)
        if outcome and self.on_error == "raise":
            raise PadfixError(outcome)

    def _look(self, args: Any, model: Any, processing_class: Any, loader: Any) -> str:
        """The errors as one text, empty when there are none; warnings and notes are logged."""
        from padfix.read.live import unwrap
        from padfix.training.check import sanity_check

        tok = self.tok if self.tok is not None else processing_class
        if tok is None:
            tok = getattr(getattr(loader, "collate_fn", None), "tokenizer", None)
        if tok is None:
            raise PadfixError(
                "the trainer has no processing_class (tokenizer); pass it to the trainer or to PadCheckCallback(tok)"
            )
        try:
            unwrap(model)
        except PadfixError as error:
            logger.warning("padding is checked without the model: %s", error)
            model = None
        limits = [getattr(args, name, None) for name in LENGTH_ARGUMENTS]
        report = sanity_check(
            model,
            tok,
            data=loader,
            task=self.task,
            step=self.step,
            rows=self.rows,
            limits=[n for n in limits if isinstance(n, int)],
        )
        self.report = report
        if report.ok:
            if report.findings:
                logger.info("%s", report)
            return ""
        text = f"padding is not safe for this training run (padfix {_version()})\n{report}"
        if self.on_error == "warn":
            warnings.warn(text, UserWarning, stacklevel=3)
        return text


def _tell_all(outcome: str) -> str:
    """Rank 0's outcome on every rank; without torch.distributed, its own."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return outcome
    box = [outcome if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    told = box[0] or ""
    if told and dist.get_rank() != 0:
        return f"rank 0 stopped the run: {told.splitlines()[0]}"
    return told


def _version() -> str:
    from importlib.metadata import version

    return version("padfix")
