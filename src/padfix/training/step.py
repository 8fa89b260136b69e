"""Run the user's batch through the model: are left-padded rows finite, and does padding stay out of a training step?

Everything runs in evaluation mode and leaves gradients alone: they are taken with ``autograd.grad``, which
returns them instead of adding them to ``.grad``. The caller restores mode and random state (`untouched`).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from padfix.types import Batch, PadState, Skip, Step

IGNORED: Final = -100
MAX_ROWS: Final = 8  # rows of the training step: one forward pass each, and one for all
LIMITS: Final = {"float64": 1e-8, "float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}  # of a loss, relative


def forward_rows(
    model: Any, collated: Any, texts: Sequence[Sequence[tuple[int, int]]]
) -> tuple[tuple[int, ...] | None, str]:
    """The rows of a batch whose logits hold NaN or +infinity at a real position, or why that is not known."""
    import torch

    inputs, problem = _inputs(model, collated)
    if problem:
        return None, problem
    inputs = {key: value for key, value in inputs.items() if not key.endswith("labels")}
    model.eval()
    try:
        with torch.no_grad():
            output = model(**inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        return None, f"the forward pass raised {type(error).__name__}: {error}"
    logits = getattr(output, "logits", None)
    if logits is None:
        logits = getattr(output, "last_hidden_state", None)
    if not isinstance(logits, torch.Tensor):
        return None, "the model returns no logits"
    bad = torch.isnan(logits) | (logits == float("inf"))
    if bad.ndim != 3 or bad.shape[:2] != inputs["input_ids"].shape:
        return tuple(torch.nonzero(bad.flatten(1).any(1)).flatten().tolist()), ""
    wrong = bad.any(-1)
    rows = [r for r, spans in enumerate(texts) if any(bool(wrong[r, a:b].any()) for a, b in spans)]
    return tuple(rows), ""


def measure_step(
    model: Any, collated: Any, batch: Batch, state: PadState
) -> tuple[Step | None, tuple[Skip, ...]]:
    """One training step on at most 8 rows of the batch, and on each of these rows alone.

    Returns None and the reason where the model's own forward pass gives no loss for such a batch
    (preference batches, packed rows, sharded weights).
    """
    import torch

    reason = _unfit(model, batch, state)
    inputs: dict[str, Any] = {}
    if not reason:
        inputs, reason = _inputs(model, collated)
    if not reason and "labels" not in inputs:
        reason = "the batch has no labels that the model's forward takes"
    if reason:
        return None, (Skip("step", reason),)
    full = inputs["input_ids"].shape[0]
    inputs["labels"] = _predicted_from_text(inputs["labels"], batch)
    inputs = {key: value[:MAX_ROWS] if _per_row(value, full) else value for key, value in inputs.items()}
    rows = range(min(full, MAX_ROWS))
    model.eval()
    plain = {**inputs, **_without_router(model)}
    try:
        with torch.enable_grad(), _embedded(model) as outputs:
            loss = model(**plain).loss
        gradient = _gradient(loss, outputs, inputs["input_ids"].shape)
        total = weight = 0.0
        with torch.no_grad():
            for r in rows:
                count = _trained(batch, r)
                if count:
                    alone = model(**_alone(plain, batch, r, full)).loss
                    total, weight = total + float(alone) * count, weight + count
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        return None, (Skip("step", f"the training step raised {type(error).__name__}: {error}"),)
    if loss is None or not weight:
        return None, (Skip("step", "the model returned no loss for this batch"),)
    dtype = str(loss.dtype).removeprefix("torch.")
    weights = str(next(model.parameters()).dtype).removeprefix("torch.")
    limit = max(LIMITS.get(dtype, 3e-2), LIMITS.get(weights, 3e-2)) * max(1.0, abs(total / weight))
    facts = _gradients(model, gradient, inputs, batch, state, rows) if gradient is not None else {}
    router = _router_change(model, inputs, batch)
    return (
        Step(
            loss=float(loss.detach()), loss_alone=total / weight, limit=limit, router_change=router, **facts
        ),
        (),
    )


def _unfit(model: Any, batch: Batch, state: PadState) -> str:
    if model is None:
        return "no model was given"
    if state.sharded or state.offloaded:
        return "the weights are sharded or offloaded"
    if batch.packed:
        return (
            "packed rows: a text alone and in its pack have other positions; the proof is for padded batches"
        )
    if not all(batch.ids) or (batch.labels is None and batch.objective != "rows"):
        return "the batch has no labels of its own; a trainer computes this loss itself"
    return ""


def _inputs(model: Any, collated: Any) -> tuple[dict[str, Any], str]:
    """The tensors of a batch that the model's forward takes, on the model's device, or why it cannot run."""
    import torch

    if not isinstance(collated, Mapping):
        collated = {"input_ids": collated}
    device = next(model.parameters()).device
    if device.type == "meta":
        return {}, "the weights are on the meta device"
    known = inspect.signature(model.forward).parameters
    inputs: dict[str, Any] = {}
    for key, value in collated.items():
        if key not in known or value is None:
            continue
        if not isinstance(value, torch.Tensor):
            try:
                value = torch.as_tensor(value)
            except (TypeError, ValueError, RuntimeError):
                continue
        inputs[key] = value.to(device)
    ids = inputs.get("input_ids")
    if ids is None:
        return {}, "the batch has no input_ids that the model's forward takes"
    table = model.get_input_embeddings()
    rows = getattr(getattr(table, "weight", None), "shape", (0,))[0]
    if rows and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < rows:
        return {}, f"ids run from {int(ids.min())} to {int(ids.max())}, and the embedding has {rows} rows"
    return inputs, ""


def _per_row(value: Any, rows: int) -> bool:
    return hasattr(value, "ndim") and value.ndim > 0 and value.shape[0] == rows


def _predicted_from_text(labels: Any, batch: Batch) -> Any:
    """Causal labels without the first token of a left-padded row, which padding predicts and a row alone does not."""
    if batch.objective != "causal" or labels.ndim != 2:
        return labels
    labels = labels.clone()
    for r, spans in enumerate(batch.texts):
        if spans and spans[0][0] > 0:
            labels[r, spans[0][0]] = IGNORED
    return labels


def _stop(batch: Batch, r: int) -> int:
    """The end of a row's text, with the pad behind it where that is trained as its EOS."""
    stop = batch.texts[r][-1][1]
    if batch.objective == "causal" and batch.labels is not None and stop < len(batch.ids[r]):
        return stop + int(batch.labels[r][stop] == batch.ids[r][stop])
    return stop


def _without_router(model: Any) -> dict[str, bool]:
    """The load-balancing loss is not a mean over tokens, so it is left out of the comparison."""
    known = inspect.signature(model.forward).parameters
    return {"output_router_logits": False} if "output_router_logits" in known else {}


@contextlib.contextmanager
def _embedded(model: Any) -> Iterator[list[Any]]:
    """The outputs of the input embedding, as leaves of what follows when the table itself is frozen."""
    outputs: list[Any] = []

    def keep(module: Any, args: Any, output: Any) -> Any:
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        outputs.append(output)
        return output

    handle = model.get_input_embeddings().register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


def _gradient(loss: Any, outputs: list[Any], shape: Any) -> Any:
    """d loss / d embedding output, ``(rows, T, hidden)``; None where the embedding was not called on the ids."""
    import torch

    own = [output for output in outputs if output.shape[:2] == shape]
    if loss is None or not loss.requires_grad or not own:
        return None
    found = torch.autograd.grad(loss, own, allow_unused=True)
    reached: list[Any] = [gradient for gradient in found if gradient is not None]  # type: ignore[redundant-expr]
    return sum(gradient.abs().float() for gradient in reached) if reached else None


def _gradients(
    model: Any, gradient: Any, inputs: Mapping[str, Any], batch: Batch, state: PadState, rows: range
) -> dict[str, Any]:
    size = gradient.amax(-1)
    places = [(r, p) for r in rows for p in range(size.shape[1])]
    text = {(r, p) for r in rows for start, stop in batch.texts[r] for p in range(start, stop)}
    padding = [place for place in places if place not in text]
    values = size.tolist()
    facts: dict[str, Any] = {"text_gradient": max((values[r][p] for r, p in text), default=0.0)}
    if padding:
        worst = max(padding, key=lambda place: values[place[0]][place[1]])
        facts |= {"pad_gradient": values[worst[0]][worst[1]], "pad_place": worst}
    ends = [(r, p) for r, p in text if batch.ids[r][p] in state.eos_ids]
    if ends:
        strongest = max(ends, key=lambda place: values[place[0]][place[1]])
        facts["end_gradient"] = values[strongest[0]][strongest[1]]
        facts["end_row_gradient"] = _arrives(model, inputs["input_ids"], strongest, facts["end_gradient"])
    return facts


def _arrives(model: Any, ids: Any, place: tuple[int, int], gradient: float) -> float | None:
    """What a gradient at one position leaves in its row of the table: ``padding_idx`` swallows it."""
    table = model.get_input_embeddings()
    if not getattr(getattr(table, "weight", None), "requires_grad", False):
        return None
    return 0.0 if getattr(table, "padding_idx", None) == int(ids[place]) else gradient


def _trained(batch: Batch, r: int) -> int:
    """How many labels of a row enter the mean of the loss."""
    if batch.objective == "rows" or batch.labels is None:
        return 1
    labels = batch.labels[r]
    start, stop = (
        (batch.texts[r][0][0], _stop(batch, r)) if batch.objective != "seq2seq" else (0, len(labels))
    )
    skip = 1 if batch.objective == "causal" else 0
    return sum(label != IGNORED for label in labels[start + skip : stop])


def _alone(inputs: Mapping[str, Any], batch: Batch, r: int, full: int) -> dict[str, Any]:
    """The inputs of one row without its padding."""
    start, stop = batch.texts[r][0][0], _stop(batch, r)
    width = len(batch.ids[r])
    live = [p for p, label in enumerate(batch.labels[r]) if label != IGNORED] if batch.labels else []
    alone: dict[str, Any] = {}
    for key, value in inputs.items():
        if not _per_row(value, min(full, MAX_ROWS)):
            alone[key] = value
            continue
        row = value[r : r + 1]
        if batch.objective == "seq2seq" and (key == "labels" or key.startswith("decoder_")):
            row = row[:, live[0] : live[-1] + 1] if live else row
        elif row.ndim == 4:
            row = row[:, :, start:stop, start:stop]
        elif row.ndim > 1 and row.shape[1] == width:
            row = row[:, start:stop]
        alone[key] = row
    return alone


def _router_change(model: Any, inputs: Mapping[str, Any], batch: Batch) -> float | None:
    """How much the router's loss moves when only the ids at masked positions change."""
    import torch

    mask = inputs.get("attention_mask")
    if not batch.router_loss or mask is None or mask.ndim != 2 or bool((mask != 0).all()):
        return None
    ids = inputs["input_ids"]
    swapped = torch.where(mask == 0, (ids + 1) % int(ids.max() + 1), ids)
    with torch.no_grad():
        outputs = [model(input_ids=i, attention_mask=mask, output_router_logits=True) for i in (ids, swapped)]
    losses = [float(output.aux_loss) for output in outputs if getattr(output, "aux_loss", None) is not None]
    return abs(losses[0] - losses[1]) if len(losses) == 2 else None
