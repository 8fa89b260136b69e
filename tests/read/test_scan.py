"""Vocabularies scanned by the compiled reader, against the plain one and against json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import models

from padfix.errors import SourceError
from padfix.read import plain_scan, scan, sentencepiece_model, tokenizer_json
from padfix.read.source import open_source
from padfix.read.vocab import DictVocab, wanted

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
        file = before + text + behind
        # whatever part of the file is at hand already, the rest is asked for
        first = file[: rng.choice([0, len(before), len(before) + 1, rng.randrange(len(file) + 1), len(file)])]
        found = read(parts(file, rng.choice([400, 1000, 10_000])), len(before), first)
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
        for some in (texts, [], [*texts, "absent"], [t for t in texts if len(t) < 2]):
            assert found.holds(iter(some)) is known.holds(some) is ("absent" not in some)
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


ENTRIES = st.lists(
    st.tuples(st.sampled_from(["", " ", "\n\t  "]), st.text(max_size=30), st.integers(0, 2**31 - 1)),
    unique_by=lambda e: e[1],
    min_size=1,
    max_size=12,
)


@READERS
@settings(max_examples=150, deadline=None)
@given(ENTRIES, st.booleans(), st.integers(0, 40), st.sampled_from(["", " ", "\r\n"]))
@example([("", "longest", 7), ("", "b", 8)], True, 0, "")
@example([("", "longest", 7), ("", "b", 8)], False, 0, "")
def test_a_part_that_holds_one_entry_is_enough(
    reader: Any, entries: list[Any], pairs: bool, more: int, blank: str
) -> None:
    """Wherever a file is cut, between brackets too, if only the longest entry and its comma fit in a part."""
    kept = [(b, t, i) for b, t, i in entries if t.isprintable()] or [("", "a", 1)]
    written = []
    for i, (before, text, token_id) in enumerate(kept):
        key, end = (
            json.dumps(text, ensure_ascii=bool(token_id % 2)),
            "]}"[not pairs] if i == len(kept) - 1 else ",",
        )
        inner = (
            f"[{blank}{key},{before}-{token_id}.5e0{blank}]" if pairs else f"{key}{before}:{blank}{token_id}"
        )
        written.append(f"{before}{inner}{blank}{end}".encode())
    raw = (b"[" if pairs else b"{") + b"".join(written)
    found = (reader.scan_pairs if pairs else reader.scan_object)(parts(raw, max(map(len, written)) + more), 0)
    expected = {t: place if pairs else i for place, (_, t, i) in enumerate(kept)}
    if found is None:  # ids far beyond their number are json's
        assert not pairs and max(expected.values()) > 2**20
    else:
        assert dict(found.items()) == expected and found.end == len(raw)


@COMPILED
def test_parts_without_a_whole_entry_end_the_scan() -> None:
    """Parts of one byte, none, and the same bytes again and again: nothing found, and no endless loop."""
    raw = b'{"a":1,"b":2}'
    assert scan.scan_object(parts(raw, 1), 0) is None
    assert scan.scan_object(lambda at: b"", 0) is None
    assert scan.scan_object(lambda at: b'{"a":1,', 0) is None
    assert scan.scan_pairs(lambda at: b'[["a",1],', 0) is None
    assert scan.scan_object(parts(raw), 2**31) is None


@READERS
def test_errors_of_the_file_are_passed_on(reader: Any) -> None:
    """What ``more`` raises is raised, in the first part and in a later one, and only bytes are read."""

    def late(at: int) -> bytes:
        if at:
            raise OSError(f"gone at {at}")
        return b'{"a":1,'

    with pytest.raises(OSError, match="gone at 7"):
        reader.scan_object(late, 0)


@COMPILED
@pytest.mark.parametrize("wrong", ["text", None, bytearray(b'{"a":1}')])
def test_only_bytes_are_read(wrong: Any) -> None:
    """Anything else that ``more`` gives is a programmer's error."""
    with pytest.raises(TypeError):
        scan.scan_object(lambda at: wrong, 0)


@READERS
def test_a_vocabulary_knows_nothing_of_those_before_it(reader: Any) -> None:
    """Long ones, short ones and refused ones in turn, some dropped and some kept: the memory of a dropped one is used again."""
    kept = []
    for size in (40_000, 3, 20_500, 1, 300, 40_000, 2):
        for mark in "ab":
            table = {f"<{mark}{size}-{i}>" if i % 3 else f"{mark}{i}": i for i in range(size)}
            found = reader.scan_object(parts(json.dumps(table).encode()), 0)
            assert dict(found.items()) == table and found.select() == {
                t: i for t, i in table.items() if wanted(t)
            }
            other = "b" if mark == "a" else "a"
            assert found.get(f"{other}0") is found.get(f"<{other}{size}-1>") is found.get(mark) is None
            assert reader.scan_object(parts(b'{"c":1,"cc":2,'), 0) is None
            kept.append((found, table) if mark == "a" else (None, {}))
    assert all(dict(found.items()) == table for found, table in kept if found is not None)


@COMPILED
def test_only_strings_are_looked_for() -> None:
    """What is no string, or cannot be gone through, is a programmer's error."""
    found = scan.scan_object(parts(b'{"a":1}'), 0)
    assert found is not None
    for wrong in (5, [5], ["a", None]):
        with pytest.raises(TypeError):
            found.holds(wrong)  # type: ignore[arg-type]


@READERS
def test_a_scan_within_a_scan_is_its_own(reader: Any) -> None:
    """``more`` may scan another file."""
    inner: list[Any] = []

    def more(at: int) -> bytes:
        inner.append(reader.scan_object(parts(b'{"x":5}'), 0))
        return b'{"a":1,"b":2}'[at : at + 8]

    found = reader.scan_object(more, 0)
    assert dict(found.items()) == {"a": 1, "b": 2}
    assert all(dict(v.items()) == {"x": 5} for v in inner)


@COMPILED
@pytest.mark.parametrize("token_id", [2**31, 2**31 + 5, 2**32 - 1])
def test_ids_that_need_32_bits_are_left_to_json(token_id: int) -> None:
    """Alone, behind others, and counted up to: no id wraps, and none is taken for a negative one."""
    for table in (
        {"a": token_id},
        {"a": 0, "b": 1, "c": token_id},
        {f"w{i}": token_id - 12 + i for i in range(16)},
    ):
        assert scan.scan_object(parts(json.dumps(table).encode()), 0) is None
    beyond = {f"w{i}": 2**31 - 20 + i for i in range(40)} | {"x": 2**31 - 1}
    assert scan.scan_object(parts(json.dumps(beyond).encode()), 0) is None
    longer = {f"w{i}": 10**9 - 20 + i for i in range(40)}
    found = scan.scan_object(parts(json.dumps(longer).encode()), 0)
    assert (
        isinstance(found, scan.ScannedVocab) and dict(found.items()) == longer and found.max_id == 10**9 + 19
    )
    counted = {f"w{i}": 2**31 - 20 + i for i in range(20)}
    found = scan.scan_object(parts(json.dumps(counted).encode()), 0)
    assert isinstance(found, scan.ScannedVocab) and dict(found.items()) == counted
    assert found.has_id(2**31 - 1) and not found.has_id(2**31) and found.text_of(2**31 - 20) == "w0"


@READERS
def test_numbers_that_python_refuses_are_refused(reader: Any) -> None:
    """A score of 5000 digits is an error of json, so that a file with it is not half accepted."""
    raw = b'[["a",-%s],["b",1]]'
    assert reader.scan_pairs(parts(raw % (b"9" * 5000)), 0) is None
    assert reader.scan_pairs(parts(raw % (b"9" * 300)), 0) is not None


LAYOUTS = pytest.mark.parametrize("kind", ["counting", "with a hole", "descending", "pairs", "pieces"])


def ids_of(texts: list[str], kind: str) -> range:
    """The ids that these texts have in a file of this kind."""
    if kind == "with a hole":
        return range(1, len(texts) + 1)
    return range(len(texts))[::-1] if kind == "descending" else range(len(texts))


def written_as(texts: list[str], kind: str) -> scan.ScannedVocab | None:
    """A vocabulary of these texts in this order, which may hold one twice, as the scanner reads it."""
    if kind == "pieces":
        found, kinds = scan.sentencepieces(b"".join(piece(text.encode()) for text in texts))
        assert kinds == (b"" if found is None else b"\x01" * len(texts))
        return found
    if kind == "pairs":
        return scan.scan_pairs(parts(json.dumps([[t, -0.5] for t in texts]).encode()), 0)
    entries = (f"{json.dumps(t)}:{i}" for t, i in zip(texts, ids_of(texts, kind), strict=True))
    return scan.scan_object(parts(("{" + ",".join(entries) + "}").encode()), 0)


def piece(text: bytes, *, kind: int | None = None, score: bool = False) -> bytes:
    """A piece of a sentencepiece model, field 1 of it, of fewer than 16,000 bytes."""
    inner = b"\x0a" + varint(len(text)) + text
    inner += b"\x15\0\0\x80?" if score else b""
    inner += b"" if kind is None else b"\x18" + varint(kind)
    return b"\x0a" + varint(len(inner)) + inner


def varint(number: int) -> bytes:
    """A number of a protobuf message."""
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


@COMPILED
@LAYOUTS
@pytest.mark.parametrize("size", [19_999, 20_000, 40_000])
def test_long_vocabularies_answer_every_question(kind: str, size: int) -> None:
    """Found and absent strings, by a search for the first forty and by a table after them; special ones by theirs."""
    texts = [
        f"{'<w' if i % 50 == 0 else 'w'}{'x' * (i % 37)}{i}{'>' if i % 50 == 0 else ''}" for i in range(size)
    ]
    found, table = written_as(texts, kind), dict(zip(texts, ids_of(texts, kind), strict=True))
    assert found is not None
    assert (found.size, found.strings, found.ids, found.max_id) == (size, size, size, max(table.values()))
    assert (
        found.select() == {t: i for t, i in table.items() if wanted(t)} and len(found.select()) >= size // 50
    )
    some = [*texts[:60], *texts[-60:], *texts[777::1999]]
    for _ in range(2):
        for text in some:
            assert found.get(text) == table[text]
            assert found.get(text + "?") is None and found.get("<" + text + "?>") is None
            assert found.text_of(table[text]) == text and found.has_id(table[text])
    assert found.get("") is None and found.get("\0") is None
    assert not found.has_id(size + 1) and found.text_of(-1) is None
    assert dict(found.items()) == table


@COMPILED
@LAYOUTS
@pytest.mark.parametrize(("word", "size"), [("<pad>", 30_000), ("[PAD]", 30_000), ("a", 30_000), ("é", 30_000),
                                            ("<0x0A>", 30_000), ("Ġpad", 19_000)])  # fmt: skip
def test_a_string_given_twice_is_noticed(kind: str, word: str, size: int) -> None:
    """In a short vocabulary any string, in a long one every string that could be a pad, a byte or a sign."""
    texts = [f"w{i}" for i in range(size)]
    texts[17] = texts[-5] = word
    assert written_as(texts, kind) is None


@COMPILED
def test_an_ordinary_word_given_twice_in_a_long_vocabulary_has_its_last_id() -> None:
    """The one case that is not noticed: looking for it is a third of all reading, and no pad is such a word."""
    texts = [f"w{i}_" for i in range(30_000)]
    texts[17] = texts[-5] = "Ġword"
    found = written_as(texts, "counting")
    assert found is not None and found.size == found.ids == 30_000
    for i in range(50):  # by a search, and by the table
        assert found.get("Ġword") == 29_995, i
    assert found.text_of(17) == found.text_of(29_995) == "Ġword"
    assert not {"Ġword"} & found.select().keys()


@COMPILED
@pytest.mark.parametrize("kind", ["pairs", "pieces"])
def test_a_list_may_hold_any_piece_twice(kind: str) -> None:
    """Which libraries count in different ways: left to json and the reader of all fields, however long the list is."""
    texts = [f"w{i}_" for i in range(30_000)]
    texts[17] = texts[-5] = "Ġword"
    assert written_as(texts, kind) is None


FIELDS = st.sampled_from(
    [
        b"\x0a\x01a", b"\x0a\x03<b>", b"\x0a\x00", b"\x0a\x01\xff", b"\x0a\x03\xe2\x96\x81", b"\x0a\x02a", b"\x0a\x81\x00c",
        b"\x15\x00\x00\x80?", b"\x15\x00", b"\x18\x02", b"\x18\x06", b"\x18\xff\x01", b"\x18\x80\x02", b"\x18" + b"\x80" * 9 + b"\x01",
        b"\x18" + b"\xff" * 10, b"\x18", b"\x1a\x01x", b"\x20\x05", b"\x08\x01", b"\x0b", b"",
    ]
)  # fmt: skip
MODELS = st.lists(
    st.one_of(
        st.lists(FIELDS, max_size=4).map(lambda f: b"\x0a" + varint(len(b"".join(f))) + b"".join(f)),
        st.text(max_size=40)
        .filter(str.isprintable)
        .map(lambda t: piece(t.encode(), kind=len(t) % 7, score=True)),
        st.sampled_from(
            [
                b"\x12\x02\x18\x02",
                b"\x1a\x02\x12\x00",
                b"\x0a",
                b"\x0a\x7fx",
                b"\x0a\xff\xff\xff\xff\x7f",
                b"\0",
            ]
        ),
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(MODELS)
@example(b"\x0a\x06\x0a\x01\xff\x0a\x01a")  # of two strings in a piece the last counts, but both must be text
@example(b"\x0a\x06\x0a\x01a\x0a\x01\xff")
def test_pieces_are_those_of_the_reader_of_all_fields(data: bytes) -> None:
    """Whatever the bytes, a sentencepiece model and its errors are what the slower reader gives alone."""
    with pytest.MonkeyPatch.context() as patch:
        quick = model_of(data)
        patch.setattr(sentencepiece_model, "sentencepieces", plain_scan.sentencepieces)
        assert quick == model_of(data)


def model_of(data: bytes) -> Any:
    """Everything that is read of a model, or its error."""
    try:
        model = sentencepiece_model.parse_model(data, "here", "a.model")
    except SourceError as error:
        return str(error).split(":")[:2]
    vocab = model.vocab
    numbers = (vocab.size, vocab.strings, vocab.ids, vocab.max_id)
    held = [(i, vocab.has_id(i), vocab.text_of(i)) for i in range(-1, vocab.max_id + 2)]
    settings_read = (model.model_type, model.byte_fallback, model.unk_id, model.bos_id, model.charsmap)
    return model.texts, model.kinds, model.declared, numbers, held, dict(vocab.select()), settings_read


@COMPILED
@pytest.mark.parametrize("pairs", [False, True], ids=["object", "pairs"])
def test_no_size_of_a_part_makes_a_file_slow(
    pairs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the library wrote is scanned wherever the parts end, at every byte of the vocabulary's beginning too."""
    texts = [f"<w{i}>" if i % 50 == 0 else f"\u0120{'x' * (i % 37)}{i}" for i in range(4000)]
    table = {text: i for i, text in enumerate(texts)}
    model = models.Unigram([(t, -0.25) for t in texts]) if pairs else models.BPE(table, [])
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    source = open_source(tmp_path)
    begins = (tmp_path / "tokenizer.json").read_bytes().index(b'"vocab"')
    for size in (*range(begins + 1, begins + 90), 1000, 4096, 65_536):
        monkeypatch.setattr(tokenizer_json, "_PART", size)
        file = tokenizer_json.load_tokenizer_json(source)
        assert file is not None and isinstance(file.vocab, scan.ScannedVocab), size
        assert (file.vocab.size, file.vocab.max_id, file.list_vocab) == (4000, 3999, pairs)
    assert dict(file.vocab.items()) == table
