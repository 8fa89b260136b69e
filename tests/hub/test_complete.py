"""A tokenizer.json made whole from its head: what was read is kept, ids are right, the rest is filler."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padfix.hub.complete import FILLER, complete, ids_of
from real_tokenizers import corpus_root

CORPUS = corpus_root()


def tokenizer_json(
    kind: str, n: int, tail: int, *, indent: int | None, inside: tuple[int, ...] = (0, 2)
) -> dict[str, Any]:
    """A tokenizer.json of ``n`` tokens with ``tail`` added ones after them and some inside."""
    words = [f'w{i}"\\é' if i % 5 == 0 else f"w{i}" for i in range(n)]
    added = [(i, words[i]) for i in inside] + [(n + i, f"<|added_{i}|>") for i in range(tail)]
    model: dict[str, Any] = {"type": kind}
    if kind == "BPE":
        model |= {
            "dropout": None,
            "unk_token": None,
            "byte_fallback": False,
            "vocab": {w: i for i, w in enumerate(words)},
        }
        model["merges"] = [["a", "b"]] * 50
    elif kind == "Unigram":
        model |= {
            "unk_id": 0,
            "vocab": [[w, -float(i) / 7] for i, w in enumerate(words)],
            "byte_fallback": False,
        }
    else:
        model |= {"unk_token": "w1", "vocab": {w: i for i, w in enumerate(words)}}
    if kind == "WordPiece":
        model["continuing_subword_prefix"] = "##"
        model["vocab"] = model.pop("vocab")  # the vocabulary comes last, as the library writes it
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, "special": True} for i, t in added],
        "normalizer": None, "pre_tokenizer": None, "post_processor": {"type": "ByteLevel"}, "decoder": None, "model": model,
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["BPE", "Unigram", "WordPiece"]),
    st.integers(300, 900),
    st.integers(0, 5),
    st.sampled_from([None, 2]),
    st.floats(0.35, 0.9),
)
def test_what_was_read_is_kept(kind: str, n: int, tail: int, indent: int | None, share: float) -> None:
    """Any cut in the vocabulary gives valid JSON with the same ids for all strings that were read."""
    real = tokenizer_json(kind, n, tail, indent=indent)
    raw = json.dumps(real, indent=indent, ensure_ascii=False).encode()
    start = raw.index(b'"vocab"')
    head = raw[: start + int((len(raw) - start) * share * 0.7) + 40]
    made = complete(head, n + tail)
    assert made is not None
    document = json.loads(made.document)
    assert document["added_tokens"] == real["added_tokens"]
    assert document["post_processor"] == real["post_processor"]
    vocab, truth = document["model"]["vocab"], real["model"]["vocab"]
    if kind == "Unigram":
        vocab = {piece: i for i, (piece, _) in enumerate(vocab)}
        truth = {piece: i for i, (piece, _) in enumerate(truth)}
    assert len(set(vocab.values())) == len(vocab)
    assert set(made.known) >= {words for words, i in truth.items() if vocab.get(words) == i} - {""}
    for text in made.known.keys() & truth.keys():
        assert made.known[text] == truth[text]
        assert vocab.get(text, truth[text]) == truth[text]
    for text in vocab.keys() - made.known.keys():
        assert text.startswith(FILLER)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 10**12))
def test_hostile_heads(noise: bytes, size: int) -> None:
    """Whatever the bytes, the answer is None or valid JSON of bounded size; nothing is raised."""
    for head in (
        noise,
        b'{"added_tokens": [' + noise,
        b'{"added_tokens": [], "model": {"vocab": {' + noise,
        b'{"added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, ' + noise,
        b'{"added_tokens": [{"id": 5, "content": "x"}], "model": {"vocab": [["a", 0], ' + noise,
    ):
        made = complete(head, min(size, 5000))
        assert made is None or isinstance(json.loads(made.document), dict)


@pytest.mark.parametrize(
    "added",
    [
        '[{"id": -1, "content": "x"}]',
        '[{"id": 9999999999, "content": "x"}]',
        '[{"id": true, "content": "x"}]',
        "[7]",
        "7",
        '[{"id": 1}]',
    ],
)
def test_hostile_ids(added: str) -> None:
    """Ids that are no ids, or would need a billion fillers, are refused."""
    assert complete(f'{{"added_tokens": {added}, "model": {{"vocab": {{"a": 0, "b": 1,'.encode(), 10) is None


def test_a_huge_id_is_bounded() -> None:
    """An id that another file gives to a token costs no more than a million fillers, and is not believed."""
    head = b'{"added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0, "b": 1,'
    made = complete(head, 10, {"[PAD]": 9_999_999})
    assert made is not None
    assert "[PAD]" not in made.known
    assert len(made.document) < 1000


def test_a_huge_vocab_size_is_bounded() -> None:
    """A config that claims 10^12 tokens costs no more than a million fillers."""
    made = complete(b'{"added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0, "b": 1,', 10**12)
    assert made is not None
    assert len(made.document) < 40_000_000


@pytest.mark.parametrize(
    ("written", "doubtful"),
    [
        ({"<|a|>": 100257, "<|b|>": 100258, "<|end|>": 100276}, {"<|end|>"}),  # loaded as 100259
        (
            {"<unk>": 60000, "<|a|>": 100257, "<|b|>": 100258},
            set(),
        ),  # one of the vocabulary's own, and two after it
        (
            {"<s>": 0, "</s>": 1, "<|a|>": 32007, "<|b|>": 32008, "[PAD]": 32016},
            {"[PAD]"},
        ),  # Code Llama with a pad
        ({}, set()),
    ],
)
def test_ids_after_a_gap_are_not_believed(written: dict[str, int], doubtful: set[str]) -> None:
    """An id after a small gap is one that loading may not give, so nothing is said of it."""
    _, trusted = ids_of(5000, written, None)
    assert trusted == {text: i for text, i in written.items() if text not in doubtful}


@pytest.mark.skipif(CORPUS is None, reason="no corpus: set PADFIX_CORPUS")
def test_ids_of_real_tokenizers() -> None:
    """Every id that is said to be known is the one that the whole file gives (all of the corpus)."""
    assert CORPUS is not None
    from padfix.read.backend import Backend
    from padfix.read.source import FolderSource
    from padfix.read.tokenizer_build import json_added
    from padfix.read.tokenizer_json import load_tokenizer_json

    known = 0
    for path in sorted(CORPUS.glob("*/*/tokenizer.json")):
        raw = path.read_bytes()
        file = load_tokenizer_json(FolderSource(path.parent))
        assert file is not None
        real = Backend(file.vocab)
        real.add(token for _, token in json_added(file, "corpus"))
        for share in (0.02, 0.1, 0.4):
            made = complete(raw[: max(20_000, min(216 * 1024, int(len(raw) * share)))])
            for text, i in made.known.items() if made else ():
                assert real.get(text) == i, (path, text)
                known += 1
    assert known > 100_000
