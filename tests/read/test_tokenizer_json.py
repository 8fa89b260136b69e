"""tokenizer.json read in its canonical layout, against reading all of it with json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models

from padfix.errors import SourceError
from padfix.read import tokenizer_json
from padfix.read.scan import ScannedVocab
from padfix.read.source import Source, open_source
from padfix.read.tokenizer_json import TokenizerJson, load_tokenizer_json


def written(folder: Path, vocab: dict[str, int], change: Callable[[dict[str, Any]], object] = id) -> Path:
    """A folder with a BPE tokenizer of this vocabulary, in this order (the library sorts by id)."""
    folder.mkdir(exist_ok=True)
    path = folder / "tokenizer.json"
    tokenizers.Tokenizer(models.BPE(vocab, [])).save(str(path))
    document = json.loads(path.read_text("utf-8"))
    document["model"]["vocab"] = vocab
    change(document)
    path.write_text(json.dumps(document, indent=2), "utf-8")
    return folder


def load(folder: Path) -> TokenizerJson:
    """The file as the reader sees it."""
    file = load_tokenizer_json(open_source(folder))
    assert file is not None
    return file


TABLE = {f"<w{i}>": i for i in range(100_000)}


def test_only_equal_vocabularies_are_taken_over(tmp_path: Path) -> None:
    """A vocabulary is the last file's if all its bytes are, wherever it begins; one byte makes it another."""

    def longer(document: dict[str, Any]) -> None:
        document["normalizer"] = {"type": "Replace", "pattern": {"String": "x" * 700_000}, "content": ""}

    first = load(written(tmp_path / "a", TABLE))
    again = load(written(tmp_path / "b", TABLE, longer))
    late = {**TABLE, "<w99998>": 99_999, "<w99999>": 99_998}
    other = load(written(tmp_path / "c", late))
    shorter = load(written(tmp_path / "d", dict(list(TABLE.items())[:-1])))
    assert isinstance(first.vocab, ScannedVocab)
    assert again.vocab is first.vocab and again.vocab_end > first.vocab_end
    assert other.vocab is not first.vocab and shorter.vocab is not first.vocab
    assert [f.vocab.get("<w99998>") for f in (first, again, other, shorter)] == [
        99_998,
        99_998,
        99_999,
        99_998,
    ]
    assert shorter.vocab.get("<w99999>") is None and shorter.vocab.size == 99_999


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9999])
def test_a_file_that_ends_within_a_known_vocabulary_is_refused(tmp_path: Path, cut: float) -> None:
    """What was read of another file is no reason to believe half a file."""
    path = written(tmp_path / "a", TABLE) / "tokenizer.json"
    load(tmp_path / "a")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(Exception, match=r"tokenizer\.json"):
        load(tmp_path / "a")


@pytest.mark.parametrize("part", [4096, 5000, 65_536])
def test_the_size_of_a_part_changes_nothing(
    tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads and vocabularies over several parts are read as in one."""
    table = {("\u0120" if i % 3 else "") + "x" * (i % 40) + str(i): i for i in range(3000)}
    folder = written(
        tmp_path / "a",
        table,
        lambda d: d.update(added_tokens=[{"id": i, "content": f"<{i}>"} for i in range(300)]),
    )
    whole = load(folder)
    monkeypatch.setattr(tokenizer_json, "_PART", part)
    parted = load(folder)
    assert isinstance(parted.vocab, ScannedVocab)
    assert dict(parted.vocab.items()) == dict(whole.vocab.items()) == table
    assert (parted.parts, parted.vocab_end, parted.text) == (whole.parts, whole.vocab_end, whole.text)


HEAD = '"added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null'


@pytest.mark.parametrize(
    "text",
    [
        '{%s,"model":{"type":"BPE","vocab":{"a":0}},"model":5}',
        '{%s,"model":{"type":"BPE","vocab":{"a":0}},"model":{"x":1}}',
        '{%s,"model":{"type":"BPE","vocab":{"a":0}},"model":{"":0}}',
        '{%s,"model":{"type":"BPE","vocab":{"a":0},"":1,"vocab":{"b":0}}}',
        '{%s,"model":{"type":"BPE","vocab":{"a":0},"merges":[],"vocab":{"b":0},"z":[]}}',
        '{%s,"model":{"type":"BPE","vocab":{"a":0},"merges":[[]}}',
        '{%s,"x":1,"model":{"type":"BPE","vocab":{"a":0}},"x":{"vocab":{"b":0}}}',
        '{%s,"x":1,"model":{"type":"BPE","vocab":5},"x":{"vocab":{"b":0}}}',
        '{%s,"model":{"type":"BPE","vocab":null,"a \\"vocab":{"b":0}}}',
        '{%s,"model":{"type":"BPE","vocab":NaN,"a \\"vocab":{"b":0}}}',
        '{%s,"model":{"type":"BPE","merges":["a b"],"vocab":{"a":0}}}',
        '{%s,"model":{"type":"BPE","vocab":{"a":0},"unk_token":"<u>","merges":["a b"]}}',
        '{%s,"model":{"type":"BPE","vocab":{"a":0},"z":"\ud800"}}',
        '{%s,"model":{"type":"BPE","vocab":{"b":0}},"model":{"type":"BPE","vocab":{"a":0}}}',
        '\ufeff{%s,"model":{"type":"BPE","vocab":{"a":0}}}',
    ],
)
def test_other_keys_around_the_vocabulary_change_nothing(tmp_path: Path, text: str) -> None:
    """Keys that are written twice, or end like the vocabulary's, and vocabularies of something else: what json says."""
    (tmp_path / "tokenizer.json").write_bytes((text % HEAD).encode("utf-8", "surrogatepass"))

    def told(read: Callable[[Source], TokenizerJson | None]) -> object:
        try:
            file = read(open_source(tmp_path))
        except SourceError as error:
            return str(error)
        assert file is not None
        parts = {key: value for key, value in file.parts.items() if key != "model"}
        return parts, file.model, dict(file.vocab.items()), file.list_vocab, file.kind

    assert told(load_tokenizer_json) == told(lambda source: tokenizer_json._whole(source, "tokenizer.json"))
