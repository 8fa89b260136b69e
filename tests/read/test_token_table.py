"""The token table built without the ``tokenizers`` library has the ids that the library gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

from padfix.read.backend import Added, Backend
from padfix.read.source import open_source
from padfix.read.tables import last_template_id
from padfix.read.tokenizer_json import load_tokenizer_json
from padfix.read.vocab import DictVocab

NAMES = st.sampled_from(["<a>", "<b>", "x", "y", "w1", "w2", "<pad>", "\u2581", ""])
# once per call: of a string given twice with other flags, tokenizers 0.22 keeps the first new ones, 0.23 the last
TOKENS = st.lists(st.tuples(NAMES, st.booleans(), st.booleans()), max_size=8, unique_by=lambda t: t[0])


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["w1", "w2", "x", "<pad>", "<a>"]), st.integers(0, 9), max_size=5),
    st.lists(TOKENS, max_size=3),
)
def test_added_tokens_get_the_ids_of_the_library(table: dict[str, int], batches: list[Any]) -> None:
    """Any vocabulary, holes included, and any tokens in any order: same ids, flags, length.

    Where an id was given twice, tokenizers 0.22 and 0.23 differ in whose flags stay, so those are not compared.
    """
    real = tokenizers.Tokenizer(models.BPE(table, []))
    ours = Backend(DictVocab(table))
    for batch in batches:
        real.add_tokens([tokenizers.AddedToken(t, special=s, normalized=n) for t, s, n in batch])
        ours.add(Added(t, s, n) for t, s, n in batch)
    ids = real.get_vocab(with_added_tokens=True)
    texts = {*table, *(text for batch in batches for text, _, _ in batch)} - {""}
    assert {text: ours.get(text) for text in texts} == ids
    once = {i for i in ids.values() if list(ids.values()).count(i) == 1}
    decoder = {i: t for i, t in real.get_added_tokens_decoder().items() if i in once}
    assert {e.id: (e.text, e.special, e.normalized) for e in ours.entries if e.id in once} == {
        i: (t.content, t.special, t.normalized) for i, t in decoder.items()
    }
    assert ours.length(count_repeats=True) == real.get_vocab_size(with_added_tokens=True)
    assert ours.max_id == max(ids.values(), default=-1)
    assert ours.holes == ours.max_id + 1 - len(set(ids.values()))


def test_tokens_of_equal_fields_are_told_apart_by_what_they_say() -> None:
    """1 and True are one key of a table and mean the same here; null is neither, and what is no token stays none."""
    fields = ("content", "special", "normalized")
    rows = [("a", True, False), ("a", 1, 0), ("a", 1.0, False), ("a", True, None), ("a", None, None), ("a", [], {}),
            ("a", False, True), (5, True, False), (None, None, None), ("x" * 99, True, False)]  # fmt: skip
    raws = [dict(zip(fields, row, strict=True)) for row in rows]
    expected = [("a", True, False)] * 3 + [
        ("a", True, False),
        ("a", False, True),
        ("a", False, False),
        ("a", False, True),
    ]
    expected += [None, None, ("x" * 99, True, False)]
    for _ in range(2):  # as new ones and as known ones, together and each by itself
        for made in (Added.all_from_json(raws), [Added.from_json(raw) for raw in raws], [Added.all_from_json([raw])[0] for raw in raws]):  # fmt: skip
            assert [None if t is None else (t.text, t.special, t.normalized) for t in made] == expected
            assert [t is not None and t.unsaid for t in made] == [
                row[2] is None and row[0] == "a" for row in rows
            ]
    assert Added.all_from_json(["a", 5, None, [], {}, {"content": "a"}])[:5] == [None] * 5


@pytest.mark.parametrize(
    "tokens",
    [None, [], "x", {"[SEP]": "x"}, {"[SEP]": {"ids": 5}}, {"[SEP]": {"ids": []}}, {"[SEP]": {"ids": ["x"]}}],
)
@pytest.mark.parametrize("place", [{"id": "[SEP]"}, {"id": []}, {}, "x", None])
def test_a_template_without_sense_ends_with_nothing(tokens: object, place: object) -> None:
    """Whatever a post-processor holds where its tokens belong: no id, and no error."""
    processor = {"type": "TemplateProcessing", "single": [{"SpecialToken": place}], "special_tokens": tokens}
    assert last_template_id(processor) == -1
    processor = {
        **processor,
        "single": [{"SpecialToken": {"id": "[SEP]"}}],
        "special_tokens": {"[SEP]": {"ids": [4, 7]}},
    }
    assert last_template_id(processor) == 7


def test_nothing_large_of_a_stranger_is_remembered() -> None:
    """The tokens that are remembered are short, and so is what they are known by."""
    from padfix.read import backend

    for large in ("x" * 10_000, 10**3000, 0.5):
        for raw in ({"special": large, "normalized": False}, {"special": True, "normalized": large}):
            assert Added.all_from_json([{"content": "<never-seen>", **raw}])[0] is not None
            assert (
                Added.all_from_json([{"content": f"<{'n' * 99}>", "special": True, "normalized": True}])[0]
                is not None
            )
    assert not [key for key in backend._MADE if "never" in key[0] or len(key[0]) > 64]


def test_quick_and_whole_reading_agree(corpus_name: str, corpus: Path) -> None:
    """The part of ``tokenizer.json`` before the merges says what the whole file says."""
    from padfix.read.tokenizer_json import _whole

    source = open_source(corpus / corpus_name)
    quick = load_tokenizer_json(source)
    if quick is None:
        return
    whole = _whole(source, "tokenizer.json")
    assert {k: v for k, v in quick.parts.items() if k != "model"} == {
        k: v for k, v in whole.parts.items() if k != "model"
    }
    assert quick.model == whole.model
    assert (quick.vocab.size, quick.vocab.max_id, quick.vocab.ids) == (
        whole.vocab.size,
        whole.vocab.max_id,
        whole.vocab.ids,
    )
    assert quick.vocab.select() == whole.vocab.select()
