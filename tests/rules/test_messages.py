"""Which rule a warning or an error belongs to."""

from __future__ import annotations

import time

import pytest

from padfix.rules import RULES
from padfix.rules.messages import MESSAGES, find_rule

PEFT = """RuntimeError: Error(s) in loading state_dict for PeftModelForCausalLM:
\tsize mismatch for base_model.model.model.embed_tokens.weight: copying a param with shape torch.Size([32001, 4096])
\tfrom checkpoint, the shape in current model is torch.Size([32000, 4096])."""

KNOWN = [
    ("Setting `pad_token_id` to `eos_token_id`", "PAD301"),
    ("Setting `pad_token_id` to `eos_token_id`:50256 for open-end generation.", "PAD301"),
    ("Setting pad_token_id to eos_token_id: 128001 for open-end generation.", "PAD301"),
    ("The attention mask is not set", "PAD301"),
    ("The attention mask\nand the pad token id\n  were not set. As a consequence, you may observe unexpected behavior.", "PAD301"),
    ("Cannot handle batch sizes > 1", "PAD203"),
    ("ValueError: Cannot handle batch sizes > 1 if no padding token is defined.", "PAD203"),
    ("AttributeError: 'StableLmConfig' object has no attribute 'pad_token_id'", "PAD205"),
    ("index out of range in self", "PAD101"),
    ("  File \"functional.py\", line 2551, in embedding\nIndexError: index out of range in self", "PAD101"),
    ("RuntimeError: CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported", "PAD101"),
    ("indexSelectLargeIndex: block: [63,0,0], thread: [96,0,0] Assertion `srcIndex < srcSelectDimSize` failed.", "PAD101"),
    ("AssertionError: Padding_idx must be within num_embeddings", "PAD101"),
    ("Model config: pad_token_id must be `None` or an integer within the vocabulary (between 0 and 31999), got -1.", "PAD102"),
    ("`pad_token_id` should be positive but got -1. This will cause errors when batch generating", "PAD102"),
    ("size mismatch for embed_tokens", "PAD601"),
    (PEFT, "PAD601"),
    ("Asking to pad but the tokenizer does not have a padding token. Please select a token to use as `pad_token`", "PAD001"),
    ("Pipeline with tokenizer without pad_token cannot do batching. You can try to set it", "PAD001"),
    ("TypeError: '<' not supported between instances of 'NoneType' and 'int'", "PAD008"),
    ("ValueError: The specified `pad_token` ('[PAD]') is not found in the vocabulary of the given `processing_class`", "PAD008"),
    ("AttributeError: property 'pad_token_id' of 'ChatGLMTokenizer' object has no setter", "PAD009"),
    ("AssertionError: 32001 is not divisible by 2", "PAD109"),
    ("\x1b[33mA decoder-only architecture is being used, but right-padding was detected!\x1b[0m", "PAD303"),
    ("RuntimeError: probability tensor contains either `inf`, `nan` or element < 0", "PAD305"),
    ("ValueError: All examples must have the same number of <eos> tokens.", "PAD504"),
    ("The tokenizer has new PAD/BOS/EOS tokens that differ from the model config and generation config. Updated tokens: {}", "PAD201"),
    ("Vocab size mismatch (model has 32000, but tokenizer.model has 32001).", "PAD604"),
    ("The new embeddings will be initialized from a multivariate normal distribution that has old embeddings' mean", "PAD107"),
]  # fmt: skip

UNRELATED = [
    "",
    "pad",
    "pad_token_id",
    "CUDA out of memory. Tried to allocate 20.00 MiB",
    "IndexError: list index out of range",
    "KeyError: 'pad_token'",
    "AttributeError: 'LlamaConfig' object has no attribute 'rope_scaling'",
    "ValueError: too many values to unpack (expected 2)",
    "size mismatch for classifier.weight: copying a param with shape torch.Size([2, 768]) from checkpoint",
    "mat1 and mat2 shapes cannot be multiplied (32x10 and 20x5)",
    "Some weights of BertForSequenceClassification were not initialized from the model checkpoint and are newly initialized",
    "Token indices sequence length is longer than the specified maximum sequence length for this model (600 > 512)",
    "You are using the default legacy behaviour of the <class 'LlamaTokenizer'>",
    "property 'x' of 'Y' object has no setter",
    "`torch_dtype` is deprecated! Use `dtype` instead!",
    "Loading checkpoint shards: 100%",
    "the quick brown fox jumps over the lazy dog",
    "a number is not divisible by zero",
    "how do I set the pad token of llama",
]  # fmt: skip


@pytest.mark.parametrize(("text", "code"), KNOWN, ids=[text[:30] for text, _ in KNOWN])
def test_a_message_finds_its_rule(text: str, code: str) -> None:
    """Quoted in full, in part, wrapped, coloured, or in the middle of a traceback."""
    assert find_rule(text)[0][0].code == code
    logged = f"[rank0]: 2026-01-01 12:00:00 WARNING transformers.generation.utils: {text}\nTraceback (most recent call last):"
    assert find_rule(logged)[0][0].code == code


@pytest.mark.parametrize("text", UNRELATED, ids=[text[:30] for text in UNRELATED])
def test_an_unrelated_text_finds_nothing(text: str) -> None:
    """A guess would send a user after the wrong cause."""
    assert find_rule(text) == ()


@pytest.mark.parametrize(("message", "codes"), MESSAGES, ids=[message[:30] for message, _ in MESSAGES])
def test_every_known_message_leads_to_its_own_rule(message: str, codes: tuple[str, ...]) -> None:
    """No message is shadowed by another, and every code it names exists."""
    assert set(codes) <= set(RULES)
    assert find_rule(message)[0][0].code == codes[0]


def test_a_long_log_is_read_quickly() -> None:
    """A log of 20 MB is cut to what a traceback says first and last."""
    log = "step 1 loss 2.0 size mismatch for\n" * 600_000 + "IndexError: index out of range in self"
    started = time.perf_counter()
    assert find_rule(log)[0][0].code == "PAD101"
    assert time.perf_counter() - started < 5


def test_the_messages_are_those_of_the_installed_libraries() -> None:
    """Each quoted text of transformers that this version still prints is found in its source."""
    from importlib import metadata
    from pathlib import Path

    import transformers

    root = Path(transformers.__file__).parent
    files = [
        "generation/utils.py",
        "tokenization_utils_base.py",
        "modeling_utils.py",
        "modeling_layers.py",
        "pipelines/base.py",
    ]
    source = " ".join((root / name).read_text("utf-8") for name in files if (root / name).is_file())
    printed = [
        "does not have a padding token",
        "but right-padding was detected",
        "cannot be inferred from input because pad token ",
    ]
    assert [text for text in printed if text not in source] == [], metadata.version("transformers")
