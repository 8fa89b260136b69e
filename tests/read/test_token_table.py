"""The token table built without the ``tokenizers`` library has the ids that the library gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

from padfix.read import scan as scan_module
from padfix.read.backend import Added, Backend
from padfix.read.scan import scan_object, scan_pieces
from padfix.read.source import open_source
from padfix.read.tokenizer_json import load_tokenizer_json
from padfix.read.vocab import DictVocab, ScannedVocab

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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.text(max_size=6), st.text('":,\\{}[]019 <a>\u0120', max_size=6)),
        unique=True,
        min_size=1,
        max_size=40,
    ),
    st.booleans(),
    st.sampled_from([(None, None), (None, (",", ":")), (0, None), (2, None)]),
    st.sampled_from(["any", "counting", "with a hole"]),
    st.randoms(),
)
def test_a_scan_answers_as_a_dictionary_does(
    texts: list[str], ascii_only: bool, layout: tuple[Any, Any], order: str, rng: Any
) -> None:
    """Every way Python writes a vocabulary: the same ids, sizes and selection, or no scan at all."""
    texts = [t for t in texts if not any(0xD800 <= ord(c) < 0xE000 for c in t)]
    ids = rng.sample(range(1000), len(texts))
    if order != "any":
        hole = rng.randrange(len(texts) + 1) if order == "with a hole" else len(texts)
        ids = [i + (i >= hole) for i in range(len(texts))]
    table = dict(zip(texts, ids, strict=True))
    indent, separators = layout
    raw = json.dumps(table, ensure_ascii=ascii_only, indent=indent, separators=separators).encode()
    smallest = scan_module.SCAN_FROM
    scan_module.SCAN_FROM = 0  # type: ignore[misc]
    try:
        scanned = scan_object(raw)
        pieces = scan_pieces(json.dumps([[t, -1.5] for t in texts], ensure_ascii=ascii_only).encode())
    finally:
        scan_module.SCAN_FROM = smallest  # type: ignore[misc]
    for found, known in (
        (scanned, DictVocab(table)),
        (pieces, DictVocab({t: i for i, t in enumerate(texts)})),
    ):
        if found is None:
            continue
        assert (found.size, found.strings, found.ids, found.max_id) == (
            known.size,
            known.strings,
            known.ids,
            known.max_id,
        )
        assert found.select() == known.select()
        assert found.parts("<absent>", "a>") == known.parts("<absent>", "a>")
        for text in [*texts, "absent", "<absent>"]:
            assert found.get(text) == known.get(text), text
        for token_id in range(-1, 1001, 7):
            assert found.text_of(token_id) == known.text_of(token_id)


def test_a_plain_vocabulary_is_scanned() -> None:
    """The usual file takes the quick way, so that the test above compares something."""
    odd = [":", ":0", ":1", '":', '",', "\\", '\\"', ",", "{", "}", "},", '":5"']
    table = {t: i for i, t in enumerate([*odd, *(f"<{i}>" for i in range(30_000))])}
    for layout in ({}, {"indent": 2}, {"separators": (",", ":")}):
        scanned = scan_object(json.dumps(table, **layout).encode())
        assert isinstance(scanned, ScannedVocab), layout
        assert [scanned.get(t) for t in odd] == list(range(len(odd)))
        assert scanned.max_id == len(table) - 1
    assert scan_object(json.dumps({**table, "x": 5}).encode()) is None  # an id twice: read in full


def test_ids_that_do_not_count_up_are_read() -> None:
    """One id that is out of its turn, in any block of a file with many, is the id that is found."""
    table = {f"w{i}": i for i in range(120_000)}
    for at, wrong in ((0, 500_000), (9, 1_000_000), (999, 120_000), (70_000, 9_999_999), (119_999, 130_000)):
        changed = {**table, f"w{at}": wrong}
        scanned = scan_object(json.dumps(changed).encode())
        assert isinstance(scanned, ScannedVocab)
        assert (scanned.get(f"w{at}"), scanned.max_id, scanned.ids) == (wrong, wrong, 120_000)
        assert not scanned.has_id(at) and scanned.text_of(wrong) == f"w{at}"
        assert (scanned.get("w50"), scanned.get("w119998")) == (50, 119_998)


def test_only_equal_vocabularies_are_shared(tmp_path: Path) -> None:
    """A vocabulary that differs from the last one in one byte is read for itself."""
    table = {f"<w{i}>": i for i in range(20_000)}
    other = {**table, "<w10000>": 10_001, "<w10001>": 10_000}
    found = []
    for name, vocab in (("a", table), ("b", table), ("c", other)):
        (tmp_path / name).mkdir()
        backend = tokenizers.Tokenizer(models.BPE(vocab, []))
        backend.save(str(tmp_path / name / "tokenizer.json"))
        path = tmp_path / name / "tokenizer.json"
        raw = json.loads(path.read_text("utf-8"))
        raw["model"]["vocab"] = vocab  # in this order: the library sorts by id
        path.write_text(json.dumps(raw, indent=2), "utf-8")
        file = load_tokenizer_json(open_source(tmp_path / name))
        assert file is not None
        found.append(file.vocab)
    assert isinstance(found[0], ScannedVocab)
    assert found[1] is found[0] and found[2] is not found[0]
    assert (found[0].get("<w10000>"), found[2].get("<w10000>")) == (10_000, 10_001)


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
