"""Hypothesis strategies for the domain's nouns: states as a reader could give them, consistent in themselves."""

from __future__ import annotations

from hypothesis import strategies as st

from padfix.candidates import AddedToken, TokenTable, assess
from padfix.types import ABSENT, BadValue, ConfigId, PadRow, PadState, Token

NAMES = ("<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|fim_pad|>", "<|image_pad|>", "<unk>", "<s>", "</s>", "<|im_end|>",
         "<|reserved_special_token_7|>", "[unused3]", "<mask>", "house", "<|extra_0|>", "[control_9]", ">>SUFFIX<<", "[CLS]")  # fmt: skip
TRAITS = ("absolute-positions", "ignores-mask", "pad-is-semantic", "padding-idx-from-config", "pools-on-eos", "pools-on-pad",
          "positions-from-pad", "recurrent", "softcaps-logits", "unequal-rows")  # fmt: skip
HEADS = ("causal", "masked", "seq2seq", "classifier", "token-classifier", "base")

config_ids: st.SearchStrategy[ConfigId] = st.one_of(
    st.none(), st.just(ABSENT), st.integers(-2, 300), st.just(BadValue("list", "[1, 2]")), st.just(0)
)


@st.composite
def states(draw: st.DrawFn) -> PadState:
    """A tokenizer of up to 16 named tokens among ordinary ones, and a model or none."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=len(NAMES)))
    hole = draw(st.integers(0, 3))
    first = draw(st.integers(0, 5))
    vocab = {name: first + i for i, name in enumerate(names)}
    base = {f"w{i}": i for i in range(first)}
    top = first + len(names) - 1 + hole
    vocab["last"] = top + 1
    everything = base | vocab
    top = max(everything.values())
    n_tokens = len(everything)

    def special(name: str) -> Token | None:
        return draw(st.sampled_from([None, Token(name, None), *(Token(t, i) for t, i in everything.items())]))

    eos = draw(st.sampled_from([None, *(Token(t, i) for t, i in everything.items())]))
    unk = draw(st.sampled_from([None, *(Token(t, i) for t, i in everything.items())]))
    pad = special("<missing>")
    table = TokenTable(
        everything,
        tuple(AddedToken(t, i, draw(st.booleans()), draw(st.booleans())) for t, i in vocab.items()),
        model_kind=draw(st.sampled_from(["BPE", "WordPiece", "Unigram", "other"])),
        byte_level=draw(st.booleans()),
        model_unk=unk.text if unk else None,
        folding=draw(st.booleans()),
        template_ids=frozenset(draw(st.sets(st.sampled_from(sorted(everything.values())), max_size=2))),
        chat_templates=draw(st.sampled_from([(), ("<|im_end|>",)])),
    )
    has_model = draw(st.booleans())
    facts: dict[str, object] = {}
    declared = None
    if has_model:
        value = draw(config_ids)
        nested = draw(st.sampled_from([(), (("text_config", draw(config_ids)),)]))
        effective = nested[0][1] if nested else value
        declared = next(
            (
                Token(t, i)
                for t, i in everything.items()
                if i == effective and not isinstance(effective, bool)
            ),
            None,
        )
        rows = draw(st.integers(max(1, top - 3), top + 70))
        tied = draw(st.sampled_from([True, False, None]))
        generation = draw(st.booleans())
        facts = {
            "config_pad_id": value,
            "text_config_pad_ids": nested,
            "has_generation_config": generation,
            "generation_pad_id": draw(config_ids) if generation else ABSENT,
            "config_eos_ids": tuple(sorted(draw(st.sets(st.integers(0, top), max_size=2)))),
            "config_token_ids": tuple(
                ("image_token_id", i) for i in draw(st.sets(st.integers(0, top), max_size=2))
            ),
            "vocab_size": draw(st.sampled_from([None, rows, max(1, rows - 2)])),
            "model_type": draw(st.sampled_from([None, "llama", "roberta", "gpt2"])),
            "head": draw(st.sampled_from([None, *HEADS])),
            "traits": tuple(sorted(draw(st.sets(st.sampled_from(TRAITS), max_size=4)))),
            "input_rows": rows,
            "output_rows": None if tied is None else rows if tied else rows + draw(st.integers(-2, 2)),
            "output_bias_rows": draw(st.sampled_from([None, rows])),
            "tied": tied,
            "padding_idx": draw(st.one_of(st.none(), st.integers(0, rows - 1))),
        }
        if pad is not None and pad.id is not None and draw(st.booleans()):
            zero = draw(st.booleans())
            facts["pad_row"] = PadRow(
                0.0 if zero else 1.0, 1.0, zero, True, None, draw(st.sampled_from([None, True, False]))
            )
    wanted = draw(st.sampled_from([None, *(Token(t, i) for t, i in vocab.items())]))
    return PadState(
        has_model=has_model,
        live=draw(st.booleans()),
        tokenizer_class="Drawn",
        pad=pad,
        eos=eos,
        unk=unk,
        n_tokens=n_tokens,
        max_id=top,
        holes=top + 1 - n_tokens,
        next_id=n_tokens if n_tokens not in everything.values() else None,
        serializable=draw(st.booleans()),
        unk_emitted=None if unk is None else draw(st.sampled_from([None, True, False])),
        candidates=assess(table, unk=unk, eos=eos, declared=declared, wanted=wanted),
        **facts,  # type: ignore[arg-type]
    )
