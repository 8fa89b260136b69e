"""The token table built without the ``tokenizers`` library has the ids that the library gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

from padfix.read import plain_scan, scan
from padfix.read.backend import Added, Backend
from padfix.read.source import open_source
from padfix.read.tokenizer_json import load_tokenizer_json
from padfix.read.vocab import DictVocab, wanted

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


# the compiled reader, and what does its work where there is none; the same where nothing could be compiled
READERS = pytest.mark.parametrize("reader", [scan, plain_scan], ids=["compiled", "plain"])
COMPILED = pytest.mark.skipif(scan.ScannedVocab is plain_scan.ScannedVocab, reason="nothing is compiled here")


def parts(raw: bytes, size: int = 2**20) -> Callable[[int], bytes]:
    """A file of these bytes, of which ``size`` are given at a time."""
    return lambda at: raw[at : at + size]


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=24),
        st.text('":,\\\\{}[]019 <a>/\\u0120\\u1f30', max_size=6),
        st.integers(0, 300).map(lambda n: f"\\u0120{'x' * (n % 20)}{n}"),
    ),
    unique=True,
    min_size=1,
    max_size=40,
)


@READERS
@settings(max_examples=300, deadline=None)
@given(
    TEXTS,
    st.booleans(),
    st.sampled_from([(None, None), (None, (",", ":")), (0, None), (2, None), ("\t", None), (12, None)]),
    st.sampled_from(["any", "counting", "with a hole", "twice"]),
    st.randoms(),
)
def test_a_scan_answers_as_a_dictionary_does(
    reader: Any, texts: list[str], ascii_only: bool, layout: tuple[Any, Any], order: str, rng: Any
) -> None:
    """Every way Python writes a vocabulary: the same ids, sizes, selection and end."""
    texts = [t for t in texts if not any(0xD800 <= ord(c) < 0xE000 for c in t)]
    ids = rng.sample(range(1000), len(texts))
    if order != "any":
        hole = rng.randrange(len(texts) + 1) if order == "with a hole" else len(texts)
        ids = [i + (i >= hole) for i in range(len(texts))]
    if order == "twice" and len(texts) > 1:
        ids[0] = ids[-1]
    table = dict(zip(texts, ids, strict=True))
    indent, separators = layout
    raw = json.dumps(table, ensure_ascii=ascii_only, indent=indent, separators=separators).encode()
    pairs = [[t, rng.choice([0, -0.0, -1.5, 1e-7, 3e20, 12])] for t in texts]
    written = json.dumps(pairs, ensure_ascii=ascii_only, indent=indent, separators=separators).encode()
    before, behind = b"{'a': \n", rng.choice([b"", b', "merges"', b"}"])
    for read, text, known in (
        (reader.scan_object, raw, DictVocab(table)),
        (reader.scan_pairs, written, DictVocab({t: i for i, t in enumerate(texts)})),
    ):
        found = read(parts(before + text + behind, rng.choice([400, 1000, 10_000])), len(before))
        if not texts and read is reader.scan_pairs:
            assert found is None
            continue
        assert isinstance(found, reader.ScannedVocab)
        assert found.end == len(before + text)
        assert (found.size, found.strings, found.ids, found.max_id) == (
            known.size,
            known.strings,
            known.ids,
            known.max_id,
        )
        assert found.select() == known.select() == {t: i for t, i in known.items() if wanted(t)}
        for text in [*texts, "absent", "<absent>", "", "\ud800"]:
            assert found.get(text) == known.get(text), text
        for token_id in (*range(-1, 1001, 7), *ids, 2**40, 2**80):
            assert found.text_of(token_id) == known.text_of(token_id)
            assert found.has_id(token_id) is known.has_id(token_id)


ODD = [":", ":0", ":1", '":', '",', "\\", '\\"', ",", "{", "}", "},", '":5"', "/", "\x01", "\U0001f600", ""]


@READERS
def test_every_writing_of_a_string_is_read(reader: Any) -> None:
    """Escapes in either case, with or without need, pairs of surrogates, and texts next to the end of the data."""
    raw = rb"""{"\u00E9":0,"\/":1,"\ud83d\ude00":2,"\u0041\u005c\u0022":3,"\b\f\n\r\t":4,"\u0000":5,"\u0800\uFFFF":6}"""
    table = json.loads(raw)
    found = reader.scan_object(parts(raw), 0)
    assert isinstance(found, reader.ScannedVocab) and found.size == 7
    assert {t: found.get(t) for t in table} == table
    assert [found.text_of(i) for i in range(7)] == list(table)
    for length in range(40):  # texts that end where the data end
        assert reader.scan_object(parts(b'{"%s":0}' % (b"x" * length)), 0).get("x" * length) == 0  # type: ignore[union-attr]


@COMPILED
@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"[", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{"a":01}', b'{"a":-1}',
        b'{"a":1.0}', b'{"a":1e3}', b'{"a":null}', b'{"a":"1"}', b'{"a":4294967296}', b'{"a":99999999999999999999}',
        b'{a:1}', b'{"a":1 "b":2}', b'{"a\n":1}', b'{"\\x":1}', b'{"\\u12":1}', b'{"\\ud800":1}', b'{"\\udc00":1}',
        b'{"\\ud800\\u0041":1}', b'{"\xff":1}', b'{"\xc0\xaf":1}', b'{"\xed\xa0\x80":1}', b'{"\xf4\x90\x80\x80":1}',
        b'{"\xe0\x80\xaf":1}', b'{"\xf0\x80\x80\xaf":1}', b'{"\xc4":1}', b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a\\',
        b'{"a\\"', b'{"a":4000000000,"b":1}',
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_json(raw: bytes) -> None:
    """Damage, what Python and Rust read differently, a string twice, an id far beyond the number of tokens."""
    assert scan.scan_object(parts(raw), 0) is None


@COMPILED
@pytest.mark.parametrize(
    "raw",
    [
        b"[", b"[]", b"[[", b'[["a"', b'[["a",', b'[["a",1', b'[["a",1]', b'[["a",1],', b'[["a",1],]', b'[["a",01]]',
        b'[["a",1.]]', b'[["a",.5]]', b'[["a",1e]]', b'[["a",+1]]', b'[["a",-]]', b'[["a",NaN]]', b'[["a",null]]',
        b'[["a",1,2]]', b'[["a"]]', b'["a"]', b'[["a",1],["a",2]]', b"{}",
    ],
)  # fmt: skip
def test_pairs_that_are_not_plain_are_left_to_json(raw: bytes) -> None:
    """The same for arrays of pieces."""
    assert scan.scan_pairs(parts(raw), 0) is None


@READERS
def test_a_scan_looks_at_no_byte_behind_the_data(reader: Any) -> None:
    """Cut anywhere, a vocabulary is not one."""
    raw = json.dumps({t: i for i, t in enumerate([*ODD, "\u0120" * 9])}).encode()
    assert isinstance(reader.scan_object(parts(raw), 0), reader.ScannedVocab)
    assert all(reader.scan_object(parts(raw[:cut]), 0) is None for cut in range(len(raw)))


@READERS
def test_a_plain_vocabulary_is_scanned(reader: Any) -> None:
    """A large file in every usual layout is read the quick way, ids given twice too."""
    table = {t: i for i, t in enumerate([*ODD, *(f"<{i}>" for i in range(30_000))])}
    for layout in ({}, {"indent": 2}, {"separators": (",", ":")}):
        scanned = reader.scan_object(parts(json.dumps(table, **layout).encode()), 0)
        assert isinstance(scanned, reader.ScannedVocab), layout
        assert [scanned.get(t) for t in ODD] == list(range(len(ODD)))
        assert scanned.max_id == len(table) - 1
    twice = reader.scan_object(parts(json.dumps({**table, "x": 5}).encode()), 0)
    assert isinstance(twice, reader.ScannedVocab)
    assert (twice.size, twice.ids, twice.get("x"), twice.text_of(5)) == (
        len(table) + 1,
        len(table),
        5,
        ODD[5],
    )


@READERS
def test_ids_that_do_not_count_up_are_read(reader: Any) -> None:
    """One id that is out of its turn, anywhere in a file with many, is the id that is found."""
    table = {f"w{i}": i for i in range(120_000)}
    for at, wrong in ((0, 500_000), (9, 1_000_000), (999, 120_000), (70_000, 2_900_000), (119_999, 130_000)):
        changed = {**table, f"w{at}": wrong}
        scanned = reader.scan_object(parts(json.dumps(changed).encode()), 0)
        assert isinstance(scanned, reader.ScannedVocab)
        assert (scanned.get(f"w{at}"), scanned.max_id, scanned.ids) == (wrong, wrong, 120_000)
        assert not scanned.has_id(at) and scanned.text_of(wrong) == f"w{at}"
        assert (scanned.get("w50"), scanned.get("w119998")) == (50, 119_998)


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
