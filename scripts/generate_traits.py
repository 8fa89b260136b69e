"""Measure what every architecture of the installed transformers does with padding, into data/traits.json.

Each trait is a small experiment on a tiny random model (fp32, CPU), described beside its function;
the meanings are in `padfix.traits`. Only ``pad-is-semantic`` is given by hand, with its sources. The
file keeps one table per transformers version that was measured, and their union, which padfix reads.

    python scripts/generate_traits.py            # measure, merge, write
    python scripts/generate_traits.py --check    # measure, and fail when the file says otherwise
    python scripts/generate_traits.py --only gpt2,fnet -v
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto import configuration_auto as auto

import padfix
from padfix.testing import CannotBuildError, architectures, tiny_model

DATA = Path(padfix.__file__).parent / "data" / "traits.json"
HEADS = ("masked", "seq2seq", "causal", "token-classifier", "base")
LEAK = 1e-5  # relative to the largest output: routing by rounding stays below 2e-7, real leaks start at 2e-4
MOVED = 1e-4  # a shifted row that only rounds differently stays below 1e-5
PAD, OTHER_PAD = 7, 9  # neither is among the probe's ids

# The pad's identity carries meaning to the model or its training. model type -> source
SEMANTIC = {
    "byt5": "decoder starts with the pad (transformers, ByT5: decoder_start_token_id = pad_token_id)",
    "clip": "diffusion pipelines attend to the pads of the text encoder (diffusers issues 2201 and 8673)",
    "clip_text_model": "as clip",
    "longt5": "as t5",
    "marian": "decoder starts with the pad (transformers, MarianConfig: decoder_start_token_id = pad)",
    "mt5": "as t5",
    "pegasus": "decoder starts with the pad (transformers, PegasusConfig: decoder_start_token_id = pad = 0)",
    "pegasus_x": "as pegasus",
    "switch_transformers": "as t5",
    "t5": "decoder starts with the pad (Raffel et al. 2020; transformers, T5: _shift_right)",
    "udop": "as t5",
    "umt5": "as t5",
    "whisper": "prompt and timestamp decoding name the pad (transformers, WhisperGenerationMixin)",
}


class UnmeasuredError(Exception):
    """An experiment that this model cannot run; the message says why."""


@dataclass(frozen=True)
class Probe:
    """A model with the inputs that its forward pass needs besides ids and mask."""

    name: str
    model: Any
    head: str
    takes: frozenset[str]
    any_keyword: bool

    def __call__(
        self, ids: list[list[int]], mask: list[list[int]] | None = None, **extra: Any
    ) -> torch.Tensor:
        """Logits, or hidden states without a head; for encoder-decoders of a fixed decoder row."""
        # two equal rows: some of 4.57 skip the mask for a batch of one, which is their bug and not a trait
        rows = torch.tensor(ids * 2)
        given: dict[str, Any] = {
            "input_ids" if "input_ids" in self.takes or self.any_keyword else "inputs": rows
        }
        if self.takes_mask:
            given["attention_mask"] = torch.ones_like(rows) if mask is None else torch.tensor(mask * 2)
        if "bbox" in self.takes:
            boxes = 8 if self.model.config.model_type == "bros" else 4
            given["bbox"] = torch.zeros(*rows.shape, boxes, dtype=torch.float if boxes == 8 else torch.long)
        if "decoder_input_ids" in self.takes and self.head != "classifier":
            given["decoder_input_ids"] = torch.tensor([[3, 20, 21, 22]] * len(rows))
        if "use_cache" in self.takes:
            given["use_cache"] = False
        given.update({k: torch.tensor(v * 2) for k, v in extra.items()})
        try:
            with torch.no_grad():
                out = self.model(**given)
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
            raise UnmeasuredError(
                f"forward: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
            ) from error
        values = out.logits if getattr(out, "logits", None) is not None else out[0]
        return values[:1].detach().float()

    @property
    def takes_mask(self) -> bool:
        return "attention_mask" in self.takes or self.any_keyword

    @property
    def takes_positions(self) -> bool:
        return "position_ids" in self.takes

    @property
    def by_position(self) -> bool:
        """True when outputs belong to input positions, so that a masked position's own is left out."""
        return "decoder_input_ids" not in self.takes and self.head != "classifier"


# 10 and 5: neither ends at a border of the windows of 2 and 4 that Funnel and the compressors pool over
TEXT = [33, 58, 47, 90, 61, 75, 39, 82, 54, 66]
FILL, OTHER_FILL = [40, 41, 42, 43, 44], [70, 84, 55, 91, 63]


@functools.lru_cache(maxsize=8)
def build(model_type: str, head: str, **overrides: Any) -> Probe:
    model = tiny_model(model_type, head, **overrides)  # type: ignore[arg-type]
    parameters = inspect.signature(model.forward).parameters
    keywords = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return Probe(model_type, model, head, frozenset(parameters), keywords and "input_ids" in parameters)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, over the largest magnitude."""
    if a.shape != b.shape:
        raise UnmeasuredError(f"outputs of shapes {tuple(a.shape)} and {tuple(b.shape)}")
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-6))


def padded(
    probe: Probe, side: str, fill: list[int], positions: int | None = None, hide: bool = True
) -> torch.Tensor:
    """Outputs of the text's own positions, padded with ``fill`` on one side under its mask.

    ``positions``: give ``position_ids`` that start with this one at the text's first token.
    """
    k, t = len(fill), len(TEXT)
    ids = fill + TEXT if side == "left" else TEXT + fill
    mask = [0 if hide else 1] * k + [1] * t if side == "left" else [1] * t + [0 if hide else 1] * k
    extra: dict[str, Any] = {}
    if positions is not None:
        counted = list(range(positions, positions + t + k))
        extra["position_ids"] = [[positions] * k + counted[:t]] if side == "left" else [counted]
    out = probe([ids], [mask], **extra)
    if not probe.by_position:
        return out
    return out[:, k : k + t] if side == "left" else out[:, :t]


def alone(probe: Probe) -> torch.Tensor:
    out = probe([TEXT])
    return out[:, : len(TEXT)] if probe.by_position else out


@functools.lru_cache(maxsize=8)
def leaks(probe: Probe, side: str) -> bool:
    """Do other ids at masked positions, same shape and mask, change the text's outputs?"""
    try:
        positions = 0 if probe.takes_positions else None
        one, two = (padded(probe, side, fill, positions) for fill in (FILL, OTHER_FILL))
    except UnmeasuredError:  # Reformer takes position ids only for rows of whole chunks
        one, two = (padded(probe, side, fill) for fill in (FILL, OTHER_FILL))
    return relative(one, two) > LEAK


@functools.lru_cache(maxsize=8)
def positions_from_pad(probe: Probe) -> bool:
    """Are positions counted from the pad id?

    Either a row without any pad comes out differently when the same weights are built with another
    pad id; or masked positions that hold the pad id move the text, where other ids do not.
    """
    if padded_ids_move(probe):
        return True
    one, two = (build(probe.name, probe.head, pad_token_id=pad) for pad in (PAD, OTHER_PAD))
    two.model.load_state_dict(one.model.state_dict(), strict=False)
    return relative(one([TEXT]), two([TEXT])) > MOVED


def padded_ids_move(probe: Probe) -> bool:
    if not probe.takes_mask:
        return False
    indices = {getattr(m, "padding_idx", None) for m in probe.model.modules() if hasattr(m, "padding_idx")}
    plain = padded(probe, "left", FILL)
    if relative(plain, padded(probe, "left", OTHER_FILL)) > LEAK:
        return False  # any id would do
    pads = [i for i in indices if isinstance(i, int) and 0 <= i < 100]
    return any(relative(padded(probe, "left", [i] * len(FILL)), plain) > MOVED for i in pads)


def padding_idx_from_config(probe: Probe) -> bool:
    """Built with a pad id, does the input embedding have it as its ``padding_idx``?"""
    model = build(probe.name, probe.head, pad_token_id=PAD).model
    return getattr(_embedding(model), "padding_idx", None) == PAD


def absolute_positions(probe: Probe) -> bool:
    """Does left padding move a row, and ``position_ids`` (where taken; else right padding) not?

    Where content leaks as well, no padding can tell: there, a learned table of positions decides.
    """
    if recurrent(probe) or not probe.takes_mask:
        return False
    if leaks(probe, "left") or leaks(probe, "right"):
        tables = [
            n for n, m in probe.model.named_modules() if isinstance(m, torch.nn.Embedding) and "position" in n
        ]
        return bool(tables) and probe.takes_positions
    pads = [getattr(m, "padding_idx", None) for m in probe.model.modules()]
    fill = next(([p] * len(FILL) for p in pads if isinstance(p, int) and p >= 0), FILL)
    reference = alone(probe)
    if relative(padded(probe, "left", fill), reference) <= MOVED:
        return False
    with contextlib.suppress(UnmeasuredError):  # Reformer takes position ids only for rows of whole chunks
        if probe.takes_positions:  # MRA, Nystromformer and YOSO count from 2
            return any(
                relative(padded(probe, "left", fill, first), reference) <= MOVED for first in (0, 1, 2)
            )
    return relative(padded(probe, "right", fill), reference) <= MOVED


_STATE = re.compile(
    "mamba|rwkv|lstm|recurrent|deltanet|deltaattention|linearattention|lightning", re.IGNORECASE
)


def recurrent(probe: Probe) -> bool:
    """Does a state run over the row? By the kinds of its layers, or the names of its modules' classes."""
    if any(_STATE.search(type(module).__name__) for module in probe.model.modules()):
        return True
    config = probe.model.config.get_text_config()
    kinds = {
        str(k) for name in ("layer_types", "layers_block_type", "block_types") for k in _list(config, name)
    }
    return bool(kinds & {"linear_attention", "mamba", "mamba2", "recurrent", "hybrid"})


def _list(config: Any, name: str) -> list[Any]:
    value = getattr(config, name, None)
    return value if isinstance(value, list) else []


def _mask_has_effect(probe: Probe) -> bool:
    return not all(
        torch.equal(padded(probe, s, FILL), padded(probe, s, FILL, hide=False)) for s in ("left", "right")
    )


def ignores_mask(probe: Probe) -> bool:
    """Does masked content reach the text wherever attended content would, mask or no mask?"""
    if not any(leaks(probe, side) for side in ("left", "right")) or _mask_has_effect(probe):
        return False
    return leaks(probe, "right") or not recurrent(probe)


def leaks_state(probe: Probe) -> bool:
    """Does a recurrent state carry masked content to the text that follows it?"""
    return recurrent(probe) and leaks(probe, "left") and not leaks(probe, "right")


def mixes_positions(probe: Probe) -> bool:
    """Does attention honour the mask, and content of masked positions reach the text by another way?"""
    if ignores_mask(probe) or leaks_state(probe) or positions_from_pad(probe):
        return False
    return any(leaks(probe, side) for side in ("left", "right"))


def softcaps_logits(probe: Probe) -> bool:
    """Do twice as large output rows about double the logits, and ones a million times as large not reach 1000?"""
    outputs = probe.model.get_output_embeddings()
    if outputs is None or getattr(outputs, "weight", None) is None:
        return False
    kept = outputs.weight

    def largest(factor: float) -> float:
        outputs.weight = torch.nn.Parameter(kept.data * factor, requires_grad=False)  # tied inputs stay
        return float(alone(probe).abs().max())

    try:
        one, two, million = largest(1.0), largest(2.0), largest(1e6)
    finally:
        outputs.weight = kept
    return 1.5 < two / one < 2.5 and million < min(1e3, one * 1e3)


def unequal_rows(probe: Probe) -> bool:
    """Have the input and output matrices different numbers of rows as the class builds them?"""
    outputs = probe.model.get_output_embeddings()
    rows = [getattr(getattr(m, "weight", None), "shape", (0,))[0] for m in (_embedding(probe.model), outputs)]
    return all(rows) and rows[0] != rows[1]


def unpadded_differs(probe: Probe) -> bool:
    """Is a text alone, with nothing masked, other than the same unpadded text beside a padded row?"""
    if not probe.takes_mask or "decoder_input_ids" in probe.takes:
        return False
    rows, mask = [TEXT, [*TEXT[:-1], FILL[0]]], [[1] * len(TEXT), [1] * (len(TEXT) - 1) + [0]]
    return relative(probe(rows, mask), probe(rows)) > MOVED


def _embedding(model: Any) -> Any:
    try:
        return model.get_input_embeddings()
    except (AttributeError, NotImplementedError) as error:
        raise UnmeasuredError(f"no input embedding: {error}") from error


@contextlib.contextmanager
def _ids(model: Any, key: str, value: int) -> Iterator[None]:
    """The model's configurations, nested ones included, with another special id for a while."""
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    for config in list(configs.values()):
        with contextlib.suppress(AttributeError, ValueError):
            text = config.get_text_config()
            configs[id(text)] = text
    kept = [(config, config.__dict__.get(key)) for config in configs.values()]
    try:
        for config, _ in kept:
            setattr(config, key, value)
        yield
    finally:
        for config, old in kept:
            setattr(config, key, old)


def pools_on_pad(probe: Probe) -> bool:
    """Does the score of one row that ends with id 7 depend on whether 7 is the pad id?"""
    row = [*TEXT, PAD, PAD]
    with _ids(probe.model, "pad_token_id", PAD):
        one = probe([row])
    with _ids(probe.model, "pad_token_id", OTHER_PAD):
        two = probe([row])
    return relative(one, two) > LEAK


def pools_on_eos(probe: Probe) -> bool:
    """Does the score depend on which id is EOS, or is a batch with unequal numbers of it refused?"""
    row = [*TEXT[:4], 11, *TEXT[4:], 12]
    scores = []
    for eos in (11, 12):
        with _ids(probe.model, "eos_token_id", eos), _ids(probe.model, "pad_token_id", 1):
            scores.append(probe([row]))
    return relative(*scores) > LEAK


def pools_last(probe: Probe) -> bool:
    """Do masked pads after the text move the score, the pad id being theirs, where masked pads before it do not?"""
    if not probe.takes_mask:
        return False
    pads = [PAD] * len(FILL)
    with _ids(probe.model, "pad_token_id", PAD):
        reference = alone(probe)
        right, left = (relative(padded(probe, side, pads), reference) > MOVED for side in ("right", "left"))
    return right and not left


def decoder_reads_padding(probe: Probe) -> bool:
    """In an encoder-decoder, do other masked ids before the text move the score, the mask of the encoder the same?"""
    if not (probe.takes_mask and probe.model.config.is_encoder_decoder):
        return False
    eos = probe.model.config.eos_token_id if isinstance(probe.model.config.eos_token_id, int) else 2
    rows = ([*fill, *TEXT, eos] for fill in (FILL, OTHER_FILL))
    mask = [[0] * len(FILL) + [1] * (len(TEXT) + 1)]
    with _ids(probe.model, "pad_token_id", 1):
        one, two = (probe([row], mask) for row in rows)
    return relative(one, two) > LEAK


EXPERIMENTS: dict[str, Callable[[Probe], bool]] = {
    "absolute-positions": absolute_positions,
    "ignores-mask": ignores_mask,
    "leaks-state": leaks_state,
    "mixes-positions": mixes_positions,
    "padding-idx-from-config": padding_idx_from_config,
    "positions-from-pad": positions_from_pad,
    "recurrent": recurrent,
    "softcaps-logits": softcaps_logits,
    "unequal-rows": unequal_rows,
    "unpadded-differs": unpadded_differs,
}
OF_CLASSIFIERS = {
    "decoder-reads-padding": decoder_reads_padding,
    "pools-last": pools_last,
    "pools-on-eos": pools_on_eos,
    "pools-on-pad": pools_on_pad,
}


def measure(model_type: str, said: Callable[[str], None]) -> tuple[str, ...]:
    """The traits of one architecture, from its first head that can be built, and from its classifier."""
    traits: set[str] = {"pad-is-semantic"} if model_type in SEMANTIC else set()
    probe = _first(model_type, said)
    if probe is not None:
        traits |= _run(probe, EXPERIMENTS, said)
    elif _counts_positions_from_pad(model_type):
        traits.add("positions-from-pad")
    if model_type in architectures("classifier"):
        with contextlib.suppress(CannotBuildError):
            traits |= _run(build(model_type, "classifier"), OF_CLASSIFIERS, said)
    return tuple(sorted(traits))


def _first(model_type: str, said: Callable[[str], None]) -> Probe | None:
    for head in HEADS:
        if model_type not in architectures(head):  # type: ignore[arg-type]
            continue
        try:
            probe = build(model_type, head)
            alone(probe)
        except (CannotBuildError, UnmeasuredError) as error:
            said(f"{model_type} {head}: {error}")
            continue
        return probe
    return None


def _run(
    probe: Probe, experiments: dict[str, Callable[[Probe], bool]], said: Callable[[str], None]
) -> set[str]:
    found = set()
    for trait, experiment in experiments.items():
        try:
            if experiment(probe):
                found.add(trait)
        except (UnmeasuredError, CannotBuildError) as error:
            said(f"{probe.name} {probe.head} {trait}: {error}")
    return found


def _counts_positions_from_pad(model_type: str) -> bool:
    """For what cannot be built as a text model: does its source count positions from the pad id?"""
    if re.search("audio|vision|voice|hifigan|vocoder|code_hifi", model_type):
        return False
    folder = Path(transformers.__file__).parent / "models" / auto.model_type_to_module_name(model_type)
    sources = (path.read_text("utf-8") for path in folder.glob("modeling_*.py"))
    return any("create_position_ids_from_input_ids(" in source for source in sources)


def measure_all(only: list[str] | None, verbose: bool) -> dict[str, tuple[str, ...]]:
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    torch.set_num_threads(1)
    said = functools.partial(print, file=sys.stderr, flush=True) if verbose else (lambda message: None)
    table = {}
    for model_type in only or sorted(auto.CONFIG_MAPPING_NAMES):
        build.cache_clear()
        positions_from_pad.cache_clear()
        leaks.cache_clear()
        traits = measure(model_type, said)
        if traits:
            table[model_type] = traits
        if verbose:
            said(f"{model_type}: {', '.join(traits)}")
    return table


def merged(tables: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    names = sorted({name for table in tables.values() for name in table})
    return {name: sorted({t for table in tables.values() for t in table.get(name, ())}) for name in names}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="model types, separated by commas; prints instead of writing")
    parser.add_argument(
        "--check", action="store_true", help="fail when the file differs from what is measured"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say what could not be measured, and why"
    )
    options = parser.parse_args()
    table = measure_all(options.only.split(",") if options.only else None, options.verbose)
    if options.only:
        print("\n".join(f"{name}: {', '.join(traits)}" for name, traits in table.items()))
        return 0
    version = transformers.__version__
    kept = json.loads(DATA.read_text("utf-8")).get("measured", {}) if DATA.exists() else {}
    if options.check:
        known = {name: tuple(traits) for name, traits in kept.get(version, {}).items()}
        wrong = {n: (known.get(n), table.get(n)) for n in {*known, *table} if known.get(n) != table.get(n)}
        for name, (old, new) in sorted(wrong.items()):
            print(f"{name}: the file says {old}, measured {new}")
        return 1 if wrong else 0
    kept[version] = {name: list(traits) for name, traits in table.items()}
    DATA.write_text(dump({"measured": dict(sorted(kept.items())), "traits": merged(kept)}), "utf-8")
    print(f"{len(table)} architectures with traits, transformers {version}, into {DATA}")
    return 0


def dump(data: dict[str, Any]) -> str:
    """JSON with one architecture per line, so that a change is one line of a diff."""

    def table(rows: dict[str, Any], indent: str) -> str:
        lines = (f"{indent} {json.dumps(name)}: {json.dumps(traits)}" for name, traits in rows.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"

    measured = ",\n".join(f"  {json.dumps(v)}: {table(rows, '  ')}" for v, rows in data["measured"].items())
    return f'{{\n "traits": {table(data["traits"], " ")},\n "measured": {{\n{measured}\n }}\n}}\n'


if __name__ == "__main__":
    raise SystemExit(main())
