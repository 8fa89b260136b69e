"""The attention heat map of a verdict, as SVG (written here, nothing to install) or PNG (matplotlib).

Two panels: the same padded text with its mask, where the padding columns are exactly zero, and under an
all-ones mask, where they are not. Below, per layer, how much of the attention padding gets.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from padfix.errors import MissingDependencyError, PadfixError
from padfix.proof.attention import AttentionMap
from padfix.types import Verdict

_CELL, _LABEL, _GAP, _MARGIN = 22, 92, 56, 20
_INK, _MUTED, _PAD = "#1f2933", "#6b7785", "#c2410c"
_UNREAD = "#e9ecef"  # a masked query's own row: nobody reads what it attends to
# ColorBrewer's Blues, interpolated: readable in print and to colour-blind readers.
_RAMP = ((247, 251, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))
_TITLES = ("with the attention mask", "the same ids, mask all ones")


def plot(verdict: Verdict, path: str | None = None) -> str:
    """Draw the heat map of a verdict made with ``attention=True``; returns the SVG, and writes it to ``path``.

    A path that ends in ``.png`` is drawn with matplotlib instead. Raises `PadfixError` where the verdict
    holds no attention, `MissingDependencyError` where matplotlib is missing.
    """
    data = verdict.attention
    if not isinstance(data, AttentionMap):
        why = next(
            (u for u in verdict.untested if u.startswith("attention-zero")), "ask for it with attention=True"
        )
        raise PadfixError(f"this verdict holds no attention to draw: {why}")
    picture = svg(data)
    if path is not None:
        kind = Path(path).suffix.lower()
        if kind == ".png":
            _png(data, path)
        elif kind == ".svg":
            Path(path).write_text(picture, "utf-8")
        else:
            raise PadfixError(f"cannot draw to {path!r}: the name must end in .svg or .png")
    return picture


def svg(data: AttentionMap) -> str:
    """The picture as one self-contained SVG element, fit for a file or an HTML page."""
    size = _CELL * len(data.tokens)
    panel = _LABEL + size
    width = 2 * _MARGIN + 2 * panel + _GAP
    bars_top = _MARGIN + 52 + _LABEL + size + 44
    height = bars_top + 18 * len(data.layers) + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="ui-sans-serif, Helvetica, Arial, sans-serif" font-size="11" fill="{_INK}" role="img">',
        f"<title>{escape(headline(data))}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 6}" font-size="15" font-weight="600">{escape(headline(data))}</text>',
    ]
    for number, heat in enumerate((data.heat, data.open_heat)):
        left = _MARGIN + number * (panel + _GAP)
        parts.extend(_panel(data, heat, left, _MARGIN + 34, _TITLES[number]))
    parts.extend(_bars(data, bars_top, width))
    parts.append("</svg>")
    return "\n".join(parts)


def headline(data: AttentionMap) -> str:
    """One sentence: what padding gets with the mask, and what it would get without."""
    masked, unmasked = max(data.layers), sum(data.open_layers) / len(data.open_layers)
    got = "exactly 0" if masked == 0.0 else f"{masked:.2g}"
    return f"Attention on padding: {got} with the mask, {unmasked:.0%} without"


def _panel(
    data: AttentionMap, heat: Sequence[Sequence[float]], left: int, top: int, title: str
) -> Iterator[str]:
    grid_left, grid_top = left + _LABEL, top + 18 + _LABEL
    peak = _peak(data)
    yield f'<text x="{grid_left}" y="{top + 10}" font-size="12" font-weight="600">{escape(title)}</text>'
    for place, (token, real) in enumerate(zip(data.tokens, data.mask, strict=True)):
        middle = _CELL * place + _CELL // 2
        colour = _INK if real else _PAD
        name = escape(token)
        yield (
            f'<text x="{grid_left - 6}" y="{grid_top + middle + 4}" text-anchor="end" fill="{colour}">{name}</text>'
        )
        x = grid_left + middle + 4
        yield (
            f'<text x="{x}" y="{grid_top - 6}" fill="{colour}" transform="rotate(-90 {x} {grid_top - 6})">{name}</text>'
        )
    for query, line in enumerate(heat):
        for key, weight in enumerate(line):
            x, y = grid_left + _CELL * key, grid_top + _CELL * query
            fill = _colour(weight / peak) if data.mask[query] or heat is data.open_heat else _UNREAD
            yield (
                f'<rect x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}" fill="{fill}">'
                f"<title>{escape(data.tokens[query])} → {escape(data.tokens[key])}: {weight:.3g}</title></rect>"
            )
    size = _CELL * len(data.tokens)
    for start, stop in _runs(data.mask):
        x, w = grid_left + _CELL * start - 1, _CELL * (stop - start) + 1
        yield (
            f'<rect x="{x}" y="{grid_top - 1}" width="{w}" height="{size + 1}" fill="none" stroke="{_PAD}" '
            'stroke-width="1.5" stroke-dasharray="4 3"/>'
        )


def _bars(data: AttentionMap, top: int, width: int) -> Iterator[str]:
    yield (
        f'<text x="{_MARGIN}" y="{top - 10}" font-size="12" font-weight="600">'
        "share of each layer's attention that real tokens pay to padding</text>"
    )
    start, room = _MARGIN + 70, width - 2 * _MARGIN - 70 - 190
    longest = max(*data.open_layers, *data.layers, 1e-9)
    for number, (masked, unmasked) in enumerate(zip(data.layers, data.open_layers, strict=True)):
        y = top + 18 * number
        yield f'<text x="{start - 8}" y="{y + 11}" text-anchor="end" fill="{_MUTED}">layer {number}</text>'
        yield f'<rect x="{start}" y="{y + 2}" width="{room * unmasked / longest:.1f}" height="11" fill="#c6dbef"/>'
        if masked:
            yield f'<rect x="{start}" y="{y + 2}" width="{room * masked / longest:.1f}" height="11" fill="{_PAD}"/>'
        x = start + room * unmasked / longest + 6
        yield (
            f'<text x="{x:.1f}" y="{y + 11}">{_exact(masked)} with the mask, {unmasked:.1%} without</text>'
        )
    y = top + 18 * len(data.layers) + 20
    yield (
        f'<text x="{_MARGIN}" y="{y}" fill="{_MUTED}">rows look at columns; mean over layers and heads; '
        f"eager attention; padded on the {data.side}; dashed: padding; grey: padding's own rows, which nothing reads</text>"
    )


def _exact(value: float) -> str:
    return "0" if value == 0.0 else f"{value:.2g}"


def _peak(data: AttentionMap) -> float:
    """One colour scale for both panels: the largest weight between real tokens."""
    real = [n for n, on in enumerate(data.mask) if on]
    return max((h[q][k] for h in (data.heat, data.open_heat) for q in real for k in real), default=1.0) or 1.0


def _runs(mask: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = None
    for place, real in enumerate([*mask, 1]):
        if not real and start is None:
            start = place
        elif real and start is not None:
            yield start, place
            start = None


def _colour(share: float) -> str:
    if share == 0.0:
        return "#ffffff"
    # The square root keeps small weights visible: 1 % of the peak is a tenth of the ramp.
    at = min(1.0, max(0.0, share)) ** 0.5 * (len(_RAMP) - 1)
    low = min(int(at), len(_RAMP) - 2)
    mixed = (a + (b - a) * (at - low) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return "#" + "".join(f"{round(c):02x}" for c in mixed)


def _png(data: AttentionMap, path: str) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import LinearSegmentedColormap, PowerNorm
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError as problem:
        raise MissingDependencyError(
            f'a PNG needs matplotlib, which is not installed ({problem}): pip install "padfix[plot]", or write a .svg'
        ) from problem
    figure = Figure(figsize=(11.5, 5.6 + 0.22 * len(data.layers)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic("AB;CC", height_ratios=[5, 0.5 + 0.22 * len(data.layers)])
    blues = LinearSegmentedColormap.from_list("blues", ["#ffffff", *(_hex(c) for c in _RAMP[1:])])
    ramp = blues.with_extremes(bad=_UNREAD)
    for panel, heat, title in zip("AB", (data.heat, data.open_heat), _TITLES, strict=True):
        axes = panels[panel]
        hidden = heat is data.heat
        nothing = (math.nan,) * len(data.tokens)
        lines = [line if real or not hidden else nothing for line, real in zip(heat, data.mask, strict=True)]
        image = axes.imshow(lines, cmap=ramp, norm=PowerNorm(0.5, vmin=0.0, vmax=_peak(data)))
        places = range(len(data.tokens))
        names = [name.replace("$", r"\$") for name in data.tokens]
        axes.set_xticks(places, names, rotation=90, fontsize=8)
        axes.set_yticks(places, names, fontsize=8)
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            for label, real in zip(labels, data.mask, strict=True):
                label.set_color(_INK if real else _PAD)
        for start, stop in _runs(data.mask):
            edge = Rectangle(
                (start - 0.5, -0.5), stop - start, len(data.tokens), fill=False, ec=_PAD, ls="--", lw=1.5
            )
            axes.add_patch(edge)
        axes.set_title(title, fontsize=10, color=_INK)
        axes.set_xlabel("key (looked at)", fontsize=8, color=_MUTED)
        if panel == "A":
            axes.set_ylabel("query (looking)", fontsize=8, color=_MUTED)
        else:
            figure.colorbar(image, ax=axes, shrink=0.8, label="attention weight, mean over layers and heads")
    _png_bars(data, panels["C"])
    figure.suptitle(headline(data), fontsize=13, fontweight="bold", color=_INK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a script that the font has no glyphs for is drawn as boxes
        figure.savefig(path)


def _png_bars(data: AttentionMap, axes: object) -> None:
    layers = [f"layer {n}" for n in range(len(data.layers))]
    axes.barh(layers, data.open_layers, color="#c6dbef", label="mask all ones")  # type: ignore[attr-defined]
    axes.barh(layers, data.layers, color=_PAD, label="with the mask")  # type: ignore[attr-defined]
    for number, (masked, unmasked) in enumerate(zip(data.layers, data.open_layers, strict=True)):
        axes.text(  # type: ignore[attr-defined]
            unmasked,
            number,
            f"  {_exact(masked)} with the mask, {unmasked:.1%} without",
            va="center",
            fontsize=8,
            color=_INK,
        )
    axes.set_xlim(0, 1.35 * max(*data.open_layers, *data.layers, 1e-9))  # type: ignore[attr-defined]
    axes.invert_yaxis()  # type: ignore[attr-defined]
    axes.set_title("share of each layer's attention that real tokens pay to padding", fontsize=10)  # type: ignore[attr-defined]
    axes.tick_params(labelsize=8)  # type: ignore[attr-defined]
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)  # type: ignore[attr-defined]


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{c:02x}" for c in colour)
