"""Is the attention paid to a masked key exactly zero? Measured with eager attention, in every layer and head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from padfix.proof import causes
from padfix.proof.probes import Probe, Row
from padfix.proof.run import SEED, tensors
from padfix.proof.subject import FORWARD_ERRORS, Subject, untouched
from padfix.types import Check

_TOKENS, _PADS = 9, 4
_SELF = ("attentions", "encoder_attentions")  # of these the picture is made
_DECODER = ("decoder_attentions", "cross_attentions")


@dataclass(frozen=True, slots=True)
class AttentionMap:
    """What the picture shows: one padded text, and how much each token looks at each.

    ``heat[query][key]`` is the attention weight, the mean over layers and heads; ``open_heat`` the same under an
    all-ones mask. ``layers`` and ``open_layers``: per layer, the share of its attention that real tokens
    pay to padding (0.0 to 1.0). Plain numbers and strings only.
    """

    side: str
    tokens: tuple[str, ...]
    mask: tuple[int, ...]
    heat: tuple[tuple[float, ...], ...]
    open_heat: tuple[tuple[float, ...], ...]
    layers: tuple[float, ...]
    open_layers: tuple[float, ...]


def attention_zero(subject: Subject, probe: Probe) -> tuple[Check | str, AttentionMap | None]:
    """Run both sides with eager attention; a string says why nothing could be measured."""
    if not subject.takes_mask:
        return f"attention-zero: forward() of {subject.model_type} takes no attention_mask", None
    count = max(2, min(_TOKENS, probe.width - 1))
    pads = max(1, min(_PADS, probe.width - count))
    text = replace(probe.full()[0], tokens=probe.text(0, count), decoder=probe.decoder[:count])
    side = subject.side if subject.side in ("left", "right") else "right"
    other = "left" if side == "right" else "right"
    kinds: tuple[tuple[Any, str], ...] = ((side, side), (f"open-{side}", side), (other, other))
    rows = tuple(
        replace(text, kind=kind, left=pads * (place == "left"), right=pads * (place == "right"))
        for kind, place in kinds
    )
    # A decoder as long as the text is padded like it, so that its queries and keys are real in the same places.
    if len(text.decoder) == count and "decoder_attention_mask" in subject.takes:
        rows = tuple(replace(row, decoder_left=row.left, decoder_right=row.right) for row in rows)
    fill = probe.fill if subject.pad_id is None else (subject.pad_id,)
    try:
        subject.model.set_attn_implementation("eager")
        output = _attend(subject, rows, fill)
    except FORWARD_ERRORS as problem:
        return f"attention-zero: {type(problem).__name__}: {str(problem)[:200]}", None
    mine = list(_layers(output, _SELF, rows[0].width))
    layers = [*mine, *_layers(output, _DECODER, rows[0].width)]
    if not layers:
        return f"attention-zero: {subject.model_type} returns no attention weights over the whole row", None
    worst = max(_on_pads(layer, n, rows[n]).max().item() for layer in layers for n in (0, 2))
    mine = [layer for layer in mine if layer.shape[2] == rows[0].width]
    check = Check(
        "attention-zero",
        worst == 0.0,
        False,
        worst,
        0.0,
        "attention weight",
        None if worst == 0.0 else f"a masked key gets a weight of {worst:.2g} from a real token",
        None if worst == 0.0 else causes.BUCKET,
        f"{len(layers)} layers, {layers[0].shape[1]} heads, eager attention, both sides",
    )
    return check, _picture(subject, rows, fill, mine) if mine else None


def _attend(subject: Subject, rows: Sequence[Row], fill: Sequence[int]) -> Any:
    import torch

    torch.manual_seed(SEED)
    with untouched(subject.model):
        return subject.model(**tensors(subject, rows, fill), output_attentions=True)


def _layers(output: Any, groups: Sequence[str], width: int) -> Iterator[Any]:
    """Every layer's weights whose keys are the row's places: ``(rows, heads, queries, width)``."""
    for group in groups:
        for layer in getattr(output, group, None) or ():
            if hasattr(layer, "dim") and layer.dim() == 4 and layer.shape[-1] == width:
                yield layer


def _on_pads(layer: Any, number: int, row: Row) -> Any:
    """Weights from real queries to padded keys, ``(heads, queries, pads)``; an unpadded decoder's are all real."""
    start, stop = row.span
    weights = layer[number].float()
    if weights.shape[1] == row.width:
        weights = weights[:, start:stop]
    keys = [place for place in range(row.width) if not start <= place < stop]
    return weights[:, :, keys]


def _picture(
    subject: Subject, rows: Sequence[Row], fill: Sequence[int], layers: Sequence[Any]
) -> AttentionMap:
    row = rows[0]

    def heat(number: int) -> tuple[tuple[float, ...], ...]:
        mean = sum(layer[number].float().mean(0) for layer in layers) / len(layers)
        return tuple(tuple(float(w) for w in line) for line in mean.tolist())

    def share(number: int) -> tuple[float, ...]:
        return tuple(float(_on_pads(layer, number, rows[number]).sum(-1).mean()) for layer in layers)

    names = subject.tok.convert_ids_to_tokens(row.ids(fill, 0))
    return AttentionMap(
        side=row.kind,
        tokens=tuple(_shown(name) for name in names),
        mask=tuple(row.mask),
        heat=heat(0),
        open_heat=heat(1),
        layers=share(0),
        open_layers=share(1),
    )


def _shown(name: Any) -> str:
    """A token as a label: byte-level marks undone, nothing unprintable, at most 12 characters."""
    text = str(name).replace("Ġ", "␣").replace("▁", "␣").replace("Ċ", "⏎")
    text = "".join(c if c.isprintable() else "·" for c in text)
    return text if len(text) <= 12 else text[:11] + "…"
