"""What an architecture does with padding, by ``model_type``: a table generated from transformers.

=========================  ==============================================================================
trait                      meaning
=========================  ==============================================================================
``positions-from-pad``     position ids are computed from the pad id (RoBERTa): its id may never change
``ignores-mask``           the forward pass does not honour ``attention_mask`` (FNet)
``recurrent``              a state runs over the row, so left padding can leak into it (RWKV)
``absolute-positions``     learned absolute positions: left padding needs ``position_ids`` (GPT-2)
``pools-on-pad``           its classifier pools the last token that is not the pad id (Llama)
``pools-on-eos``           its classifier pools the EOS tokens (BART, T5)
``pad-is-semantic``        the pad's identity carries meaning (CLIP, T5, Whisper)
``padding-idx-from-config``  builds ``nn.Embedding(padding_idx=config.pad_token_id)``
``softcaps-logits``        final logits are capped, so the mean row's bound 1/(V+1) does not hold
``unequal-rows``           input and output matrices differ in rows by design (Mllama)
=========================  ==============================================================================

``scripts/generate_traits.py`` makes the table; a test fails when it drifts.
"""

from __future__ import annotations

import functools
import json
from importlib import resources


@functools.cache
def table() -> dict[str, tuple[str, ...]]:
    """``model_type`` -> its traits, sorted."""
    raw = json.loads(resources.files("padfix").joinpath("data/traits.json").read_text("utf-8"))
    return {model_type: tuple(traits) for model_type, traits in raw["traits"].items()}


def traits_of(model_type: str | None) -> tuple[str, ...]:
    """The traits of an architecture, sorted; empty for one that the table does not know.

    >>> "positions-from-pad" in traits_of("roberta")
    True
    """
    return table().get(model_type or "", ())
