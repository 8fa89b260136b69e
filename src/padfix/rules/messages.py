"""From a warning or an error to the rule that explains it.

`find_rule` compares a text with the messages that transformers, torch, PEFT, TRL, vLLM and llama.cpp
print. The comparison is of neighbouring words, so numbers, class names, line wraps, log prefixes,
colours and whatever stands around a message in a traceback do not matter.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from padfix.rules.registry import RULES, Rule

# The words of each message that never change, "*" for what does, and its rules, the likeliest first.
MESSAGES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Asking to pad but the tokenizer does not have a padding token", ("PAD001",)),
    (
        "Please select a token to use as `pad_token` `(tokenizer.pad_token = tokenizer.eos_token e.g.)`",
        ("PAD001",),
    ),
    ("or add a new pad token via `tokenizer.add_special_tokens({'pad_token': '[PAD]'})`", ("PAD001",)),
    ("Pipeline with tokenizer without pad_token cannot do batching", ("PAD001",)),
    ("Using pad_token, but it is not set yet", ("PAD001",)),
    ("'<' not supported between instances of 'NoneType' and 'int'", ("PAD008", "PAD001")),
    ("The specified `pad_token` (*) is not found in the vocabulary of the given", ("PAD008",)),
    ("can't set attribute 'pad_token'", ("PAD009",)),
    ("property 'pad_token_id' of * object has no setter", ("PAD009",)),
    ("property 'pad_token' of * object has no setter", ("PAD009",)),
    ("Setting pad_token is not supported, use the default one", ("PAD009",)),
    ("_pad() got an unexpected keyword argument 'padding_side'", ("PAD009",)),
    ("index out of range in self", ("PAD101", "PAD103")),
    ("CUDA error: device-side assert triggered", ("PAD101", "PAD103")),
    ("indexSelectLargeIndex Assertion srcIndex < srcSelectDimSize failed", ("PAD101", "PAD103")),
    (
        'Assertion `ind >= 0 && ind < ind_dim_size && "vectorized gather kernel index out of bounds"` failed',
        ("PAD101",),
    ),
    ("Padding_idx must be within num_embeddings", ("PAD101", "PAD102")),
    (
        "Model config: pad_token_id must be `None` or an integer within the vocabulary",
        ("PAD102", "PAD101", "PAD204"),
    ),
    ("`pad_token_id` should be positive but got # This will cause errors when batch generating", ("PAD102",)),
    ("invalid value for special token type pad: -1", ("PAD102", "PAD604")),
    ("Added token ids are beyond the embedding matrix", ("PAD103",)),
    ("size mismatch for * embed_tokens", ("PAD601", "PAD106", "PAD105")),
    ("size mismatch for * lm_head", ("PAD601", "PAD106", "PAD105")),
    ("size mismatch for * wte.weight", ("PAD601", "PAD106", "PAD105")),
    ("size mismatch for * word_embeddings", ("PAD601", "PAD106", "PAD105")),
    ("vLLM only supports modules_to_save being None", ("PAD601",)),
    (
        "Setting `save_embedding_layers` to `True` as the embedding layer has been resized during finetuning",
        ("PAD601",),
    ),
    ("The new embeddings will be initialized from a multivariate normal distribution", ("PAD107", "PAD111")),
    (
        "The new lm_head weights will be initialized from a multivariate normal distribution",
        ("PAD107", "PAD111"),
    ),
    ("Unsloth: Untrained tokens found, but embed_tokens & lm_head not trainable, causing NaNs", ("PAD108",)),
    ("# is not divisible by #", ("PAD109",)),
    ("# cannot be divided by #", ("PAD109",)),
    (
        "You are resizing the embedding layer without providing a `pad_to_multiple_of` parameter",
        ("PAD109", "PAD105"),
    ),
    (
        "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config and generation config",
        ("PAD201", "PAD202"),
    ),
    (
        "The model config and generation config were aligned accordingly, being updated with the tokenizer's",
        ("PAD201",),
    ),
    ("If eos_token_id is defined, make sure that pad_token_id is defined", ("PAD202", "PAD203")),
    ("Cannot handle batch sizes > 1", ("PAD203", "PAD205", "PAD001")),
    ("Cannot handle batch sizes > 1 if no padding token is defined", ("PAD203", "PAD205", "PAD001")),
    ("* object has no attribute 'pad_token_id'", ("PAD205",)),
    ("Multiple valid text configs were found in the model config", ("PAD205",)),
    (
        "The attention mask is not set and cannot be inferred from input because pad token is same as eos token",
        ("PAD301", "PAD003", "PAD002"),
    ),
    (
        "The attention mask is not set with a batched input, and cannot be inferred from input",
        ("PAD301", "PAD003", "PAD002"),
    ),
    ("The attention mask is not set", ("PAD301", "PAD003", "PAD002")),
    ("Setting `pad_token_id` to `eos_token_id`", ("PAD301", "PAD001")),
    ("The attention mask and the pad token id were not set", ("PAD301", "PAD001")),
    ("Please pass your input's `attention_mask` to obtain reliable results", ("PAD301", "PAD003")),
    ("Setting `pad_token_id` to `eos_token_id`: # for open-end generation", ("PAD301", "PAD001")),
    ("We strongly recommend passing in an `attention_mask` since your input_ids may be padded", ("PAD301",)),
    ("A decoder-only architecture is being used, but right-padding was detected", ("PAD303",)),
    ("please set `padding_side='left'` when initializing the tokenizer", ("PAD303",)),
    ("You are attempting to perform batched generation with padding_side='right'", ("PAD303",)),
    ("probability tensor contains either `inf`, `nan` or element < 0", ("PAD305", "PAD108")),
    ("out of range integral type conversion attempted", ("PAD404", "PAD403")),
    ("gpt2 ForSequenceClassification will not detect padding tokens in `inputs_embeds`", ("PAD308",)),
    (
        "will not detect padding tokens in `inputs_embeds`. Results may be unexpected if using padding tokens",
        ("PAD308",),
    ),
    ("All examples must have the same number of <eos> tokens", ("PAD504", "PAD308")),
    ("All labels are -100. Training losses will be all 0", ("PAD404",)),
    ("Nearly all labels in your dataset are -100", ("PAD404",)),
    ("Vocab size mismatch (model has #, but tokenizer.model has #)", ("PAD604", "PAD103")),
    ("wrong shape; expected # x #, got # x #", ("PAD604", "PAD106")),
    ("draft model and target model should have the same vocab size", ("PAD605",)),
    ("The target and draft model's vocab_size differ", ("PAD605",)),
)

THRESHOLD: Final = 0.6
_MAX_TEXT: Final = 40_000  # a traceback says what went wrong at its end

_ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|[@-Z\\-_])")
_WORD: Final = re.compile(r"[^\W\d_][\w']*|_\w+|\d+|[*<>#]")
_COMMON: Final = re.compile(
    r"(an?|and|are|as|be|being|but|by|can|do|does|for|from|has|have|if|in|is|it|no|not|object|of|on|or|the|this|to|was"
    r"|were|will|with|you|your|[<>])"
)


@dataclass(frozen=True, slots=True)
class _Known:
    features: tuple[str, ...]
    codes: tuple[str, ...]
    length: int


def find_rule(text: str, *, limit: int = 3) -> tuple[tuple[Rule, float], ...]:
    """The rules that a warning or error belongs to, best first, each with a score up to 1.

    Empty for a text that no known message resembles.

    >>> [rule.code for rule, _ in find_rule("IndexError: index out of range in self")]
    ['PAD101', 'PAD103']
    >>> find_rule("CUDA out of memory")
    ()
    """
    spoken = _words(text[: _MAX_TEXT // 2] + " " + text[-_MAX_TEXT // 2 :] if len(text) > _MAX_TEXT else text)
    places: dict[str, list[int]] = {}
    for position, feature in _features(spoken):
        places.setdefault(feature, []).append(position)
    said = sum(_WEIGHTS.get(feature, 1.0) for feature in places)
    scores: dict[str, float] = {}
    for known in _KNOWN:
        score = _score(known, places, said)
        for rank, code in enumerate(known.codes):
            if code in RULES:
                scores[code] = max(scores.get(code, 0.0), score * 0.95**rank)
    best = sorted(
        (item for item in scores.items() if item[1] >= THRESHOLD), key=lambda item: (-item[1], item[0])
    )
    return tuple((RULES[code], round(score, 3)) for code, score in best[:limit])


def _score(known: _Known, places: dict[str, list[int]], said: float) -> float:
    """The share of a message that stands together in the text; or of a short text, in the message."""
    whole = sum(_WEIGHTS[f] for f in known.features)
    found = [(p, f) for f in set(known.features) for p in places.get(f, ())]
    found.sort()
    best, start, window = 0.0, 0, Counter[str]()
    weight = 0.0
    reach = 2 * known.length + 4
    for position, feature in found:
        window[feature] += 1
        weight += _WEIGHTS[feature] if window[feature] == 1 else 0.0
        while position - found[start][0] > reach:
            left = found[start][1]
            window[left] -= 1
            weight -= _WEIGHTS[left] if window[left] == 0 else 0.0
            start += 1
        best = max(best, weight)
    # two words of a message prove nothing: a quotation must carry some of its weight
    enough = best >= min(whole, _ENOUGH)
    return best / max(_ENOUGH, min(whole, said)) if enough else 0.0


def _words(text: str) -> list[str]:
    plain = _ANSI.sub(" ", text).replace("’", "'")
    words = (word.strip("'") for word in _WORD.findall(plain.lower()))
    return ["#" if word.isdigit() else word for word in words if word]


def _features(words: list[str]) -> Iterable[tuple[int, str]]:
    """Neighbouring words, and by itself a word with an underscore: it is a name of the library."""
    for i, word in enumerate(words):
        if "_" in word.strip("_"):
            yield i, word
        if i + 1 < len(words) and "*" not in (word, words[i + 1]):
            yield i, f"{word} {words[i + 1]}"


def _known(message: str, codes: tuple[str, ...]) -> _Known:
    words = _words(message)
    return _Known(tuple(dict.fromkeys(f for _, f in _features(words))), codes, len(words))


def _weigh(known: Iterable[_Known]) -> dict[str, float]:
    """Rare features weigh more than common ones, and pairs of filler words next to nothing."""
    count = Counter(feature for entry in known for feature in entry.features)
    weights = {}
    for feature, n in count.items():
        filler = all(_COMMON.fullmatch(word) for word in feature.split())
        weights[feature] = (0.2 if filler else 1.0) / (1.0 + 0.3 * math.log(n))
    return weights


_KNOWN: Final = tuple(_known(message, codes) for message, codes in MESSAGES)
_WEIGHTS: Final = _weigh(_KNOWN)
_ENOUGH: Final = 1.5
