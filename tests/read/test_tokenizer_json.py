"""tokenizer.json read in its canonical layout, against reading all of it with json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models

from padfix.read import tokenizer_json
from padfix.read.scan import ScannedVocab
from padfix.read.source import open_source
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
