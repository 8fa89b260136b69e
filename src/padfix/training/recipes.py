"""What to change for a finding, in the words of the user's own training stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

STACKS: Final[Mapping[str, str]] = {
    "transformers": "transformers Trainer",
    "trl": "TRL",
    "axolotl": "axolotl",
    "llamafactory": "LLaMA-Factory",
    "torchtune": "torchtune",
    "unsloth": "unsloth",
    "lm_eval": "lm-evaluation-harness",
}
"""Import name of each stack and what it is called."""

_OTHER_NAMES: Final = {"llmtuner": "llamafactory", "unsloth_zoo": "unsloth", "lmeval": "lm_eval"}

RECIPES: Final[Mapping[str, Mapping[str, str]]] = {
    "PAD002": {
        "transformers": "padfix.ensure_pad(model, tok, 'add'), or collator = padfix.positional_labels(collator)",
        "trl": 'nothing, while SFTTrainer uses its own collator; else SFTConfig(pad_token="<a token that is not EOS>")',
        "axolotl": 'special_tokens: {pad_token: "<a reserved token of the model>"} in the config',
        "llamafactory": "padfix fix MODEL -o OUT, then model_name_or_path: OUT (its loader sets pad = EOS only where there is none)",
        "torchtune": "nothing: padded_collate_sft pads labels by position",
        "unsloth": "nothing, while SFTTrainer uses its own collator; else padfix.ensure_pad(model, tokenizer) after loading",
        "lm_eval": "nothing: it passes attention masks",
    },
    "PAD401": {
        "transformers": "Trainer(data_collator=padfix.positional_labels(collator)), or padfix.ensure_pad(model, tok, 'add') before tokenizing",
        "trl": "leave data_collator unset (TRL's own pads labels by position), or wrap yours: padfix.positional_labels(collator); "
        "with assistant_only_loss the template's {% generation %} block must hold the EOS",
        "axolotl": 'special_tokens: {pad_token: "<a reserved token of the model>"}, and for type: chat_template train_on_eos: turn',
        "llamafactory": "padfix fix MODEL -o OUT, then model_name_or_path: OUT; in a template of your own put {{eos_token}} into format_assistant",
        "torchtune": "collate with padded_collate_sft, which pads labels with ignore_idx by position; do not mask by tokenizer.pad_id",
        "unsloth": "padfix.ensure_pad(model, tokenizer) after FastLanguageModel.from_pretrained, or data_collator=padfix.positional_labels(collator)",
        "lm_eval": "it trains nothing; fix the training run that made the checkpoint",
    },
    "PAD402": {
        "transformers": "append it before tokenizing: tok(text + tok.eos_token); another pad token will not help",
        "trl": 'SFTConfig(eos_token="<the token that ends a turn in the template>"), or append tok.eos_token to each text',
        "axolotl": 'for type: chat_template set eot_tokens: ["<the turn-end token>"] and train_on_eos: turn; for type: completion append EOS to the texts',
        "llamafactory": "choose the template: that fits the model; one with efficient_eos or its own stop_words ends turns with another token",
        "torchtune": "tokenizer(sample) adds EOS with add_eos=True; look whether max_seq_len cuts it",
        "unsloth": "append EOS_TOKEN = tokenizer.eos_token to each text in formatting_prompts_func",
        "lm_eval": 'give the token that really ends a text in generation_kwargs: {until: ["<turn-end token>"]}',
    },
    "PAD403": {
        "transformers": "tokenize without padding and use DataCollatorForSeq2Seq(tok), which pads labels with -100; or labels[attention_mask == 0] = -100",
        "trl": "give SFTTrainer unpadded rows (no padding= when tokenizing): its collator pads labels with -100",
        "axolotl": "leave pad_to_sequence_len to its own collators; a pretokenized dataset must bring labels with -100 on its padding",
        "llamafactory": "set ignore_pad_token_for_loss: true (the default)",
        "torchtune": "padded_collate_sft(padding_idx=tokenizer.pad_id, ignore_idx=loss_fn.ignore_index)",
        "unsloth": "give SFTTrainer unpadded rows (no padding= when tokenizing): its collator pads labels with -100",
    },
    "PAD404": {
        "transformers": "print batch['labels']: compare the response template with the tokenized text, and raise max_length until completions fit",
        "trl": "assistant_only_loss needs a template with {% generation %}; completion_only_loss needs prompts shorter than max_length",
        "axolotl": "check roles_to_train, train_on_inputs and sequence_len (axolotl preprocess CONFIG --debug prints labels)",
        "llamafactory": "raise cutoff_len, and check that template: fits the model",
        "torchtune": "check masking (train_on_input, the dataset's message masks) and max_seq_len",
        "unsloth": "train_on_responses_only(instruction_part=, response_part=) must name the strings that the chat template writes",
    },
    "PAD406": {
        "transformers": 'padfix.ensure_pad(model, tok, strategy="add"), then tokenize the data again',
        "trl": 'SFTConfig(pad_token="<a token that no text holds>"), then tokenize the data again',
        "axolotl": 'special_tokens: {pad_token: "<a token that no text holds>"}, then delete dataset_prepared_path',
        "llamafactory": "padfix fix MODEL -o OUT, then model_name_or_path: OUT and overwrite_cache: true",
        "torchtune": "give the tokenizer a pad_id that no text produces",
        "unsloth": "padfix.ensure_pad(model, tokenizer) after FastLanguageModel.from_pretrained, then tokenize again",
    },
    "PAD407": {
        "transformers": "keep the attention_mask that tok(...) or tok.pad(...) returns; do not rebuild it as input_ids != pad_token_id",
        "trl": "leave data_collator unset: TRL's own builds the mask from lengths",
        "axolotl": "leave the collator to axolotl; in a pretokenized dataset keep the tokenizer's attention_mask column",
        "llamafactory": "leave the collator to LLaMA-Factory; in a pretokenized dataset keep the tokenizer's attention_mask column",
        "torchtune": "pad on the right (a causal mask then hides it), or pass a mask built from lengths",
        "unsloth": "leave data_collator unset: TRL's own builds the mask from lengths",
        "lm_eval": "pass a checkpoint with a pad of its own: padfix fix MODEL -o OUT",
    },
    "PAD408": {
        "transformers": "pass attention_mask to the model, or train without padding: DataCollatorWithFlattening()",
        "trl": "SFTConfig(packing=True) or padding_free=True",
        "axolotl": "sample_packing: true",
        "llamafactory": "packing: true, neat_packing: true",
    },
    "PAD303": {
        "transformers": 'tok.padding_side = "left" for generate(), "right" for training',
        "trl": "leave tok.padding_side alone: TRL's trainers pad on the side they need",
        "lm_eval": "it pads on the left by itself; --batch_size 1 avoids padding",
    },
}


def stack_of(collator: Any) -> str:
    """The training stack that a collator (or the one it wraps) comes from; ``transformers`` when unknown."""
    for _ in range(8):
        if collator is None:
            break
        home = getattr(collator, "__module__", None) or type(collator).__module__
        root = home.partition(".")[0]
        root = _OTHER_NAMES.get(root, root)
        inner = next(
            (
                getattr(collator, key)
                for key in ("data_collator", "collator", "func")
                if hasattr(collator, key)
            ),
            None,
        )
        if root in STACKS and inner is None:
            return root
        collator = inner
    return "transformers"


def recipe(code: str, stack: str) -> str | None:
    """What to change in one stack, or None where there is nothing special to say.

    >>> recipe("PAD408", "axolotl")
    'sample_packing: true'
    """
    return RECIPES.get(code, {}).get(stack)


def recipes_for(code: str) -> tuple[tuple[str, str], ...]:
    """Every recipe of a rule as (stack, what to change), for ``padfix rule CODE``.

    >>> [stack for stack, _ in recipes_for("PAD408")]
    ['transformers Trainer', 'TRL', 'axolotl', 'LLaMA-Factory']
    """
    return tuple((STACKS[stack], text) for stack, text in RECIPES.get(code, {}).items())
