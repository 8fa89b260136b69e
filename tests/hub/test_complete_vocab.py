"""vocab.json, vocab.txt and sentencepiece models made whole from their ends: what was read keeps its id."""

from __future__ import annotations

import json
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padfix.hub.complete import FILLER
from padfix.hub.complete_vocab import complete_lines, complete_object, complete_pieces
from padfix.read.sentencepiece_model import parse_model
from padfix.types import Token
from real_tokenizers import corpus_root

CORPUS = corpus_root()
# strings that look like the file around them, from either side of a quote
words = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=6),
        st.sampled_from(['1,"', '": 5, "', ":5,", '"', "\\", '\\"', "}", "{", ', "a": 3', "é\\u00e9", " "]),
    ),
    unique=True,
    min_size=20,
    max_size=200,
)


@settings(max_examples=300, deadline=None)
@given(
    words,
    st.booleans(),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.floats(0, 0.6),
    st.floats(0, 0.6),
    st.randoms(use_true_random=False),
)
def test_ids_from_both_ends(
    texts: list[str], escaped: bool, indent: int | None, shuffled: bool, head: float, tail: float, rng: object
) -> None:
    """Whatever the strings, the style and the order: every known id is the file's, and the rest is filler."""
    table = {text: i for i, text in enumerate(texts)}
    if shuffled:
        table = dict(sorted(table.items()))
    raw = json.dumps(table, ensure_ascii=escaped, indent=indent).encode()
    first, last = raw[: int(len(raw) * head)], raw[len(raw) - int(len(raw) * tail) :]
    made = complete_object(first, last if tail else b"", {}, None, placed=False)
    if made is None:
        return
    assert made.known == {text: table[text] for text in made.known}
    document = json.loads(made.document)
    assert {text: document[text] for text in made.known} == made.known
    assert sorted(document.values()) == list(range(len(document)))
    assert all(text.startswith(FILLER) for text in document.keys() - made.known.keys())


def test_an_end_is_found() -> None:
    """A tail cut anywhere tells all entries but the one that was cut."""
    table = {f'w{i}"\\': i for i in range(500)}
    raw = json.dumps(table).encode()
    for cut in range(100, 160):
        made = complete_object(b"", raw[-cut:], {}, None, placed=False)
        assert made is not None
        assert 499 in made.known.values()
        assert len(made.known) >= (cut - 30) // 18


def test_added_tokens_follow_the_vocabulary() -> None:
    """Ids written for tokens after the last one are known; after a gap they are not, unless the class obeys them."""
    raw = json.dumps({f"w{i}": i for i in range(5000)}).encode()
    written = {"[PAD]": 5000, "[END]": 5001, "[FAR]": 5010}
    made = complete_object(b"", raw[-4000:], written, None, placed=False)
    assert made is not None
    assert made.knows(Token("[PAD]", 5000))
    assert not made.knows(Token("[FAR]", 5010))
    assert not made.knows(Token("[PAD]", 5001))
    assert not made.knows(Token("w7", 7))
    obeyed = complete_object(b"", raw[-4000:], written, None, placed=True)
    assert obeyed is not None
    assert obeyed.knows(Token("[FAR]", 5010))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10**12))
def test_hostile_ends(noise: bytes, size: int) -> None:
    """Whatever the bytes, the answer is None or a file that a reader can parse; nothing is raised."""
    for head, tail in ((noise, b""), (b"", noise), (b'{"a": 0, "b": 1, ' + noise, noise + b', "z": 9}')):
        made = complete_object(head, tail, {}, min(size, 5000), placed=False)
        assert made is None or isinstance(json.loads(made.document), dict)
    for end in (noise, b"\x12" + noise):
        pieces = complete_pieces(b"\n\x06\n\x04<ab>" + noise, end, {}, min(size, 5000))
        assert pieces is not None
        assert pieces.below >= 1
    lines = complete_lines(noise, {}, min(size, 5000))
    assert lines is None or lines.document.count(b"\n") >= lines.below


def test_hostile_settings_are_cheap() -> None:
    """An end made of nothing but beginnings of settings is given up at once, not parsed from every one."""
    started = time.monotonic()
    for end in (b"\x12\x00" * 24_000, b"\x12\x7f" * 24_000, b"\x12" * 48_000, b"\x12\x02\x20\x01" * 12_000):
        made = complete_pieces(b"\n\x06\n\x04<ab>", end, {}, 10)
        assert made is not None
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("table", ['{"a": 99999999999}', '{"a": -1}', "[1, 2]", "7", "{}"])
def test_what_is_no_vocabulary(table: str) -> None:
    """Ids that are none, or would need a billion fillers, and files of another kind are refused."""
    assert complete_object(table.encode(), table.encode(), {}, 10, placed=False) is None


def test_lines() -> None:
    """A vocab.txt's lines keep their numbers; the one that is cut off is not taken for a token."""
    made = complete_lines(b"[PAD]\n[UNK]\nab\ncd", {"[NEW]": 1200}, 900)
    assert made is not None
    lines = made.document.decode().splitlines()
    assert lines[:3] == ["[PAD]", "[UNK]", "ab"]
    assert made.below == 3
    assert len(lines) == 1200
    assert all(line.startswith(FILLER) for line in lines[3:])


def piece(text: str, kind: int = 1) -> bytes:
    raw = text.encode()
    inner = b"\x0a" + bytes([len(raw)]) + raw + b"\x15" + struct.pack("<f", -1.0)
    inner += b"" if kind == 1 else b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(inner)]) + inner


# model type BPE, 600 pieces, byte fallback off; unk 2, bos 0, eos 1; a model prefix that looks like settings
TRAINER = b"\x12\x05\x12\x03abc" + b"\x18\x02" + b"\x20\xd8\x04" + b"\xc0\x02\x02\xc8\x02\x00\xd0\x02\x01"
MODEL = (
    b"".join(piece(f"▁w{i}", 3 if i < 3 else 1) for i in range(600))
    + b"\x12"
    + bytes([len(TRAINER)])
    + TRAINER
)


@pytest.mark.parametrize("cut", range(2000, 2040))
@pytest.mark.parametrize("tail", [0, 100])
def test_pieces(cut: int, tail: int) -> None:
    """The first pieces keep text, kind and place wherever the file is cut; settings come from its end alone."""
    made = complete_pieces(MODEL[:cut], MODEL[len(MODEL) - tail :] if tail else b"", {}, 600)
    assert made is not None
    whole, found = parse_model(MODEL, "", ""), parse_model(made.document, "", "")
    assert len(found.texts) == 600
    n = made.below
    assert (found.texts[:n], found.kinds[:n]) == (whole.texts[:n], whole.kinds[:n])
    assert made.below >= 100
    assert made.named == bool(tail)
    if tail:
        assert (found.unk_id, found.bos_id, found.eos_id, found.kind) == (2, 0, 1, "BPE")
    else:
        assert (found.unk_id, found.bos_id, found.eos_id) == (-1, -1, -1)


@pytest.mark.skipif(CORPUS is None, reason="no corpus: set PADFIX_CORPUS")
def test_real_vocabularies() -> None:
    """Of every vocab.json of the corpus each end alone tells ids, and none that the file does not hold."""
    assert CORPUS is not None
    paths = sorted(CORPUS.glob("*/*/vocab.json"))
    for path in paths:
        raw = path.read_bytes()
        real = json.loads(raw)
        for head, tail in ((raw[:50_000], b""), (b"", raw[-30_000:]), (raw[:50_000], raw[-30_000:])):
            made = complete_object(head, tail, {}, None, placed=False)
            assert made is not None, path
            assert made.known.items() <= real.items(), path
            assert len(made.known) > 500
    assert paths
