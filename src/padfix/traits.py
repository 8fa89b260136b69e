"""What an architecture does with padding, by ``model_type``: a table measured on the installed transformers.

===========================  ===========================================================================
trait                        meaning
===========================  ===========================================================================
``absolute-positions``       positions count padded places: left padding needs ``position_ids`` (GPT-2;
                             the encoders of BART and M2M take none, so it cannot be repaired there)
``decoder-reads-padding``    the decoder of its classifier reads the same ids without a mask: left padding is
                             text to it (BART, T5)
``ignores-mask``             ``attention_mask`` has no effect on what the text sees: FNet mixes all
                             positions, YOSO truncates ``1 + mask / 10000`` to 1, CPM-Ant makes its own
                             mask from ``input_ids != 0``
``leaks-state``              ``recurrent``, and the state is not cleared of masked positions: left padding
                             changes the text after it (RWKV, xLSTM, RecurrentGemma)
``mixes-positions``          attention honours the mask, but masked positions reach their neighbours by
                             another way: trigram embeddings (MobileBERT), convolution (ConvBERT, CANINE),
                             landmarks and a convolution over values (Nystromformer), pooling windows
                             (Funnel, CANINE), compressed windows (DeepSeek-V4), byte groups (BLT)
``pad-is-semantic``          the pad's identity carries meaning (CLIP, T5, Whisper): given by hand
``padding-idx-from-config``  builds ``nn.Embedding(padding_idx=config.pad_token_id)``
``pools-last``               its classifier pools the last place, padding or not: pad on the left (XLNet)
``pools-on-eos``             its classifier pools the EOS tokens (BART, T5)
``pools-on-pad``             its classifier pools the last token that is not the pad id (Llama)
``positions-from-pad``       position ids are counted from the pad id (RoBERTa): its id may never change
``recurrent``                a state runs over the row; harmless where masked positions are cleared from
                             it (Mamba), else ``leaks-state`` too
``softcaps-logits``          final logits are capped by default, so the mean row's bound 1/(V+1) does not
                             hold (Gemma-2)
``unequal-rows``             input and output matrices differ in rows by design (Mllama, CPM-Ant)
``unpadded-differs``         a batch without padding takes another path: Doge gets no causal mask there with
                             transformers 4.57 and SDPA, and one as soon as a row is padded
===========================  ===========================================================================

``scripts/generate_traits.py`` measures the table on tiny models; a test fails when it drifts.
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
