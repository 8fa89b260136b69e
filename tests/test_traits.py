"""The table of architecture traits: known truths, its own documentation, and no drift from the library."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

import padfix.traits
from padfix.traits import table, traits_of

SCRIPT = Path(__file__).parent.parent / "scripts" / "generate_traits.py"
MEASURED = json.loads(resources.files("padfix").joinpath("data/traits.json").read_text("utf-8"))["measured"]

# One of every kind: attention, pad-derived positions, recurrence with and without leak, no mask, mixing,
# EOS pooling, encoder-decoder, soft cap, unequal rows.
SUBSET = (
    "bart", "bloom", "convbert", "cpmant", "doge", "fnet", "funnel", "gemma2", "gpt2", "llama", "mamba", "mllama",
    "mpnet", "opt", "roberta", "rwkv", "t5", "xglm",
)  # fmt: skip


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_traits", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_traits"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("model_type", "has", "has_not"),
    [
        ("gpt2", {"absolute-positions", "pools-on-pad"}, {"padding-idx-from-config", "ignores-mask"}),
        ("gpt_neo", {"absolute-positions"}, {"recurrent"}),
        ("gpt_bigcode", {"absolute-positions"}, set()),
        ("xglm", {"absolute-positions"}, set()),
        ("ctrl", {"absolute-positions"}, set()),
        ("opt", {"padding-idx-from-config"}, {"absolute-positions"}),  # counts positions from the mask
        ("llama", {"padding-idx-from-config", "pools-on-pad"}, {"absolute-positions", "positions-from-pad"}),
        ("qwen2", {"padding-idx-from-config"}, {"softcaps-logits"}),
        ("fnet", {"ignores-mask"}, {"mixes-positions"}),
        ("cpmant", {"ignores-mask"}, set()),
        ("yoso", {"ignores-mask"}, set()),
        ("funnel", {"mixes-positions"}, {"ignores-mask"}),
        ("mobilebert", {"mixes-positions"}, set()),
        ("convbert", {"mixes-positions"}, set()),
        ("nystromformer", {"mixes-positions"}, set()),
        ("rwkv", {"recurrent", "leaks-state"}, {"mixes-positions"}),
        ("xlstm", {"recurrent", "leaks-state"}, set()),
        ("recurrent_gemma", {"recurrent", "leaks-state", "softcaps-logits"}, set()),
        ("mamba", {"recurrent"}, {"leaks-state"}),
        ("roberta", {"positions-from-pad"}, {"absolute-positions"}),
        ("mpnet", {"positions-from-pad"}, set()),
        ("seamless_m4t", {"positions-from-pad"}, {"mixes-positions"}),
        ("clap", {"positions-from-pad"}, set()),
        ("bart", {"pools-on-eos"}, {"pools-on-pad"}),
        ("t5", {"pools-on-eos", "pad-is-semantic"}, {"absolute-positions"}),
        ("whisper", {"pad-is-semantic"}, set()),
        ("gemma2", {"softcaps-logits"}, set()),
        ("mllama", {"unequal-rows"}, set()),
    ],
)  # fmt: skip
def test_known_truths(model_type: str, has: set[str], has_not: set[str]) -> None:
    """What threads, source code and earlier measurements say of well-known architectures is in the table."""
    traits = set(traits_of(model_type))
    assert has <= traits
    assert not has_not & traits


def test_every_trait_is_documented_and_occurs() -> None:
    """The module docstring explains exactly the traits that the table uses."""
    documented = set(re.findall(r"^``([a-z-]+)``", padfix.traits.__doc__ or "", re.MULTILINE))
    assert documented == {trait for traits in table().values() for trait in traits}


def test_unknown_and_absent_architectures_have_no_traits() -> None:
    """An architecture nobody measured has no traits, rather than an error."""
    assert traits_of("no-such-model") == traits_of(None) == ()


def test_the_table_is_the_union_of_what_was_measured() -> None:
    """padfix reads one table: everything that any measured transformers version does."""
    assert {name: list(traits) for name, traits in table().items()} == _union()


def _union() -> dict[str, list[str]]:
    names = {name for rows in MEASURED.values() for name in rows}
    return {name: sorted({t for rows in MEASURED.values() for t in rows.get(name, ())}) for name in names}


def _compare(script: ModuleType, only: list[str] | None) -> None:
    import transformers

    known = MEASURED.get(transformers.__version__)
    if known is None:
        pytest.skip(
            f"transformers {transformers.__version__} was not measured; run scripts/generate_traits.py"
        )
    measured = script.measure_all(only, verbose=False)
    expected = {name: tuple(traits) for name, traits in known.items() if only is None or name in only}
    assert measured == expected


def test_a_part_of_the_table_does_not_drift(script: ModuleType) -> None:
    """Measured again, a representative part of the table comes out as written."""
    _compare(script, list(SUBSET))


@pytest.mark.slow
def test_the_table_does_not_drift(script: ModuleType) -> None:
    """Measured again, the whole table comes out as written."""
    _compare(script, None)
