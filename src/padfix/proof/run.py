"""One forward pass: rows become tensors, the model runs, and what it says about each token comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from padfix.proof.probes import Row
from padfix.proof.subject import FORWARD_ERRORS, Subject, nested_configs, untouched

SEED = 20240229


class ProbeError(Exception):
    """The forward pass raised, or gave nothing that belongs to single tokens; the message says what."""


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of one pass.

    ``values``: one vector per position, ``(rows, positions, width)``: logits, or hidden states where the
    model has no head per token; None where there is nothing per token but scores. ``vocabulary``: the vectors
    are logits over the vocabulary. ``scores``: a classifier's ``(rows, labels)``; ``error``: what its pooling
    raised. ``hidden``: what entered the output matrix, ``(rows, positions, size)``; None where nothing was seen.
    """

    rows: tuple[Row, ...]
    values: Any
    vocabulary: bool
    scores: Any = None
    error: str | None = None
    hidden: Any = None

    def before_head(self) -> Run:
        """The same run with the vectors that entered the output matrix: more columns there do not touch them."""
        return (
            self if self.hidden is None else replace(self, values=self.hidden, vocabulary=False, hidden=None)
        )

    def of(self, row: Row) -> Any:
        """The vectors of a row's real tokens, ``(tokens, width)``."""
        return self.at(self.rows.index(row))

    def at(self, index: int) -> Any:
        """The vectors of the real tokens of the row at an index."""
        if self.values is None:  # a classifier whose base model gives no vector per token
            return self.scores[index : index + 1]
        row = self.rows[index]
        start, stop = row.decoder_span if row.decoder else row.span
        return self.values[index, start:stop]

    def score(self, row: Row) -> Any:
        """A classifier's labels for one row, or None."""
        return None if self.scores is None else self.scores[self.rows.index(row)]


def forward(subject: Subject, rows: Sequence[Row], fill: Sequence[int], *, positions: bool = True) -> Run:
    """Run one pass over rows of one width; padded places hold the ids of ``fill``, in turn.

    ``positions``: give position ids made from the mask, where forward() takes them. Raises `ProbeError`.
    """
    import torch

    rows = tuple(rows)
    inputs = tensors(subject, rows, fill, positions=positions)
    caught: list[Any] = []
    entered: list[Any] = []
    handles = [_watch_base(subject.model, caught), _watch_head(subject.model, entered)]
    torch.manual_seed(SEED)  # hashing models (Reformer, YOSO) draw numbers: the same ones each time
    output, error = None, None
    try:
        with untouched(subject.model):  # no state from one pass reaches the next
            output = subject.model(**inputs)
    except torch.OutOfMemoryError:
        raise
    except FORWARD_ERRORS as problem:
        error = f"{type(problem).__name__}: {problem}"
        if not caught or subject.head != "classifier":  # only a classifier's pooling may fail and be judged
            raise ProbeError(error) from problem
    finally:
        for handle in handles:
            if handle is not None:
                handle.remove()
    length = len(rows[0].decoder) + rows[0].decoder_left + rows[0].decoder_right or rows[0].width
    run = _read(subject, rows, output, caught, length, error)
    hidden = entered[0] if len(entered) == 1 and run.vocabulary else None
    if hidden is not None and hidden.dim() == 3 and hidden.shape[:2] == (len(rows), length):
        return replace(run, hidden=hidden.detach())
    return run


def tensors(
    subject: Subject, rows: Sequence[Row], fill: Sequence[int], *, positions: bool = True
) -> dict[str, Any]:
    """The keyword arguments of forward() for these rows, on the model's device."""
    import torch

    def put(table: list[list[int]]) -> Any:
        return torch.tensor(table, dtype=torch.long, device=subject.device)

    ids = put([row.ids(fill, number) for number, row in enumerate(rows)])
    name = "input_ids" if "input_ids" in subject.takes or "inputs" not in subject.takes else "inputs"
    inputs: dict[str, Any] = {name: ids}
    if subject.takes_mask:
        inputs["attention_mask"] = put([row.mask for row in rows])
    if positions and subject.takes_positions:
        inputs["position_ids"] = put([row.positions(subject.position_offset) for row in rows])
    if "token_type_ids" in subject.takes and _has_token_types(subject):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    if "bbox" in subject.takes:
        inputs["bbox"] = torch.zeros((*ids.shape, 4), dtype=torch.long, device=subject.device)
    if rows[0].decoder:
        inputs["decoder_input_ids"] = put([row.decoder_ids(fill, number) for number, row in enumerate(rows)])
        if "decoder_attention_mask" in subject.takes:
            inputs["decoder_attention_mask"] = put([row.decoder_mask for row in rows])
        if positions and "decoder_position_ids" in subject.takes:
            inputs["decoder_position_ids"] = put([row.decoder_positions() for row in rows])
    if "use_cache" in subject.takes:
        inputs["use_cache"] = False
    return inputs


def _has_token_types(subject: Subject) -> bool:
    """The tokenizer gives token types and the model has a table for them; GPT-2 would look them up as words."""
    known = "token_type_ids" in getattr(subject.tok, "model_input_names", ())
    return known and any("type_vocab_size" in vars(config) for config in nested_configs(subject.model.config))


def _watch_base(model: Any, caught: list[Any]) -> Any:
    """Catch what the base model inside a classifier returns, since its head may raise or pool."""
    from transformers import PreTrainedModel

    base = getattr(model, "base_model", None)
    if base is None or base is model:  # Gemma 3's classifier names no base model: it is a child all the same
        base = next((child for child in model.children() if isinstance(child, PreTrainedModel)), None)
    if base is None:
        return None
    return base.register_forward_hook(lambda module, args, output: caught.append(output))


def _watch_head(model: Any, entered: list[Any]) -> Any:
    """Catch what enters the output matrix."""
    from padfix.read.vocabulary import vocabulary

    head = vocabulary(model).output_module
    if head is None:
        return None
    return head.register_forward_pre_hook(lambda module, args: entered.extend(args[:1]))


def _read(
    subject: Subject, rows: tuple[Row, ...], output: Any, caught: list[Any], length: int, error: str | None
) -> Run:
    import torch

    from padfix.read.vocabulary import vocabulary

    rows_out = vocabulary(subject.model).output_rows
    scores = None
    if isinstance(output, torch.Tensor):  # models of one's own return what they like
        output = (output,)
    if output is not None:
        logits = _first(output, ("logits", "prediction_logits", "prediction_scores", "lm_logits"))
        if subject.model_type == "perceiver" and logits is not None and logits.dim() == 3:
            logits = logits[:, :length]  # one answer per position it could take
        if logits is not None and logits.dim() == 3 and logits.shape[:2] == (len(rows), length):
            return Run(rows, logits.detach(), rows_out is not None and logits.shape[-1] == rows_out)
        if logits is not None and logits.dim() == 2 and logits.shape[0] == len(rows):
            scores = logits.detach().float()
    latent = subject.model_type == "perceiver"  # its hidden states are latents, as many as a text by chance
    for source in (*([output] if output is not None else []), *([] if latent else caught)):
        hidden = _hidden(source, (len(rows), length))
        if hidden is not None:
            logits = source is output and isinstance(output, tuple) and hidden.shape[-1] == rows_out
            return Run(rows, hidden.detach(), logits, scores, error)
    if scores is not None:
        return Run(rows, None, False, scores, error)
    raise ProbeError(error or f"{type(subject.model).__name__} gave no vector per token for {length} tokens")


def _first(output: Any, names: Sequence[str]) -> Any:
    for name in names:
        value = output.get(name) if hasattr(output, "get") else getattr(output, name, None)
        if hasattr(value, "dim"):
            return value
    return None


def _hidden(output: Any, shape: tuple[int, int]) -> Any:
    """The last hidden states of an output: ``last_hidden_state``, or the first tensor of that shape."""
    named = _first(output, ("last_hidden_state",)) if not isinstance(output, tuple) else None
    values = output if isinstance(output, (tuple, list)) else (named, *getattr(output, "values", tuple)())
    for value in values:
        if (
            hasattr(value, "dim")
            and value.dim() == 3
            and tuple(value.shape[:2]) == shape
            and value.is_floating_point()
        ):
            return value
    return None
