"""A repository is untrusted: whatever its files hold, the answer is a state or a `SourceError`, in bounded time."""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpoints import write_checkpoint
from padfix.errors import SourceError
from padfix.read.repo import read_repo
from padfix.read.source import open_source
from padfix.types import BadValue, Token


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound checkpoint, to be damaged."""
    return write_checkpoint(tmp_path / "repo", pad="<pad>")


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / name
    data = json.loads(path.read_text("utf-8")) if path.exists() else {}
    change(data)
    path.write_text(json.dumps(data), "utf-8")


def test_the_sound_checkpoint_is_read(folder: Path) -> None:
    """What the attacks below start from is fine."""
    state = read_repo(open_source(folder))
    assert state.pad == Token("<pad>", 3)
    assert state.problems == ()


@pytest.mark.parametrize("declared", [100_000_000, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_that_declares_more_than_there_is(folder: Path, declared: int) -> None:
    """A safetensors header of 100 MB in a file of 20 bytes costs nothing and hides no tokenizer fact."""
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", declared) + b'{"a":')
    started = time.monotonic()
    state = read_repo(open_source(folder))
    assert time.monotonic() - started < 2
    assert state.input_rows is None
    assert any("header of" in problem for problem in state.problems)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json"]
)
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting(folder: Path, name: str, opening: str) -> None:
    """A million nested brackets are refused, not a crash of the interpreter."""
    (folder / name).write_text(opening * 1_000_000, "utf-8")
    with pytest.raises(SourceError, match=r"nested too deeply|not JSON"):
        read_repo(open_source(folder))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NaN", "float"), ("-Infinity", "float"), ("1e400", "float"), ("2.0", "float"), ('"3"', "str"),
        ("[2, 3]", "list"), ("true", "bool"), ("{}", "dict"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["config.json", "generation_config.json"])
def test_ids_of_another_type(folder: Path, key: str, text: str, kind: str) -> None:
    """An id that is no id is kept as what it is, so that a rule can name it."""
    (folder / key).write_text(
        f'{{"model_type": "llama", "pad_token_id": {text}, "eos_token_id": {text}}}', "utf-8"
    )
    state = read_repo(open_source(folder))
    value = state.config_pad_id if key == "config.json" else state.generation_pad_id
    assert isinstance(value, BadValue)
    assert value.kind == kind
    assert state.config_eos_ids == (
        (2, 3) if text == "[2, 3]" and key == "config.json" else (2,) if key != "config.json" else ()
    )


def test_huge_integers(folder: Path) -> None:
    """An id of 4000 digits is an id; one of 5000 digits is refused, as Python refuses to read it."""
    (folder / "config.json").write_text('{"pad_token_id": ' + "9" * 4000 + "}", "utf-8")
    assert read_repo(open_source(folder)).config_pad_id == int("9" * 4000)
    (folder / "config.json").write_text('{"pad_token_id": ' + "9" * 5000 + "}", "utf-8")
    with pytest.raises(SourceError, match="number that is too large"):
        read_repo(open_source(folder))


def test_of_a_key_written_twice_the_last_counts(folder: Path) -> None:
    """As in Python's own reader, and so as in transformers."""
    (folder / "config.json").write_text('{"pad_token_id": 1, "pad_token_id": 3}', "utf-8")
    assert read_repo(open_source(folder)).config_pad_id == 3


@pytest.mark.parametrize(
    "change",
    [
        {"pad_token": ["<pad>"]},
        {"pad_token": {"content": 3}},
        {"pad_token": {"__type": "AddedToken", "content": None}},
        {"added_tokens_decoder": {"x": {"content": "<pad>"}}},
        {"added_tokens_decoder": {"1": "<pad>"}},
        {"added_tokens_decoder": []},
        {"extra_special_tokens": 7},
        {"additional_special_tokens": [None]},
        {"padding_side": "up"},
        {"tokenizer_class": ["A"]},
        {"tokenizer_class": 3},
        {"auto_map": {"AutoTokenizer": "evil.Tokenizer"}},
        {"chat_template": [1]},
    ],
    ids=lambda c: next(iter(c)) + str(c)[:40],
)
def test_tokenizer_settings_of_another_type(folder: Path, change: dict[str, Any]) -> None:
    """What transformers cannot load either is refused with the reason."""
    edit(folder, "tokenizer_config.json", lambda data: data.update(change))
    with pytest.raises(SourceError, match="repo: "):
        read_repo(open_source(folder))


@pytest.mark.parametrize(
    "vocab", [None, [], {"a": "0"}, {"a": True}, {"a": -1}, {"a": 1.5}, [["a"]], [[1, 0.0]], 7]
)
def test_vocabularies_of_another_type(folder: Path, vocab: Any) -> None:
    """A vocabulary is an object of ids or an array of pieces; an empty array is an empty vocabulary."""
    edit(folder, "tokenizer.json", lambda data: data["model"].update(vocab=vocab))
    if vocab == []:
        assert read_repo(open_source(folder)).n_tokens == 4
        return
    with pytest.raises(SourceError, match=r"vocabulary|id"):
        read_repo(open_source(folder))


def test_bytes_that_are_no_text(folder: Path) -> None:
    """Bytes that are not UTF-8, and a byte order mark, are named with their place."""
    (folder / "tokenizer_config.json").write_bytes(b'{"pad_token": "\xff"}')
    with pytest.raises(SourceError, match=r"not UTF-8: byte 0xff at 15"):
        read_repo(open_source(folder))
    (folder / "tokenizer_config.json").write_bytes(b'\xef\xbb\xbf{"pad_token": "<pad>"}')
    with pytest.raises(SourceError, match="not JSON"):
        read_repo(open_source(folder))


def test_a_file_larger_than_any_of_its_kind(folder: Path) -> None:
    """A sparse config of 1 TB is refused by its size, unread."""
    with (folder / "config.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SourceError, match="more than the"):
        read_repo(open_source(folder))


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """A link to a file elsewhere is refused; one inside the folder is a file like any other."""
    secret = tmp_path / "secret.json"
    secret.write_text('{"pad_token": "stolen"}', "utf-8")
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").symlink_to(secret)
    with pytest.raises(SourceError, match="link that leaves the folder"):
        read_repo(open_source(folder))
    (folder / "tokenizer_config.json").unlink()
    (folder / "real.json").write_text(
        '{"pad_token": "<pad>", "tokenizer_class": "PreTrainedTokenizerFast"}', "utf-8"
    )
    (folder / "tokenizer_config.json").symlink_to("real.json")
    assert read_repo(open_source(folder)).pad == Token("<pad>", 3)


def test_loops_pipes_and_folders_in_place_of_files(folder: Path) -> None:
    """None of them blocks or is followed."""
    path = folder / "generation_config.json"
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)
    with pytest.raises(SourceError, match="cannot open"):
        read_repo(open_source(folder))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceError, match="not a regular file"):
        read_repo(open_source(folder))
    path.unlink()
    path.mkdir()
    with pytest.raises(SourceError, match="not a regular file"):
        read_repo(open_source(folder))


def test_code_and_pickles_are_never_run(folder: Path, tmp_path: Path) -> None:
    """``auto_map`` names code and ``pytorch_model.bin`` is a pickle, both of which would write a file."""
    mark = tmp_path / "written"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (mark,))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')", "utf-8")
    edit(folder, "config.json", lambda data: data.update(auto_map={"AutoConfig": "evil.Config"}))
    state = read_repo(open_source(folder))
    assert state.pad == Token("<pad>", 3)
    edit(
        folder,
        "tokenizer_config.json",
        lambda d: d.update(tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.T", None]}),
    )
    edit(folder, "config.json", lambda data: data.update(model_type="evil"))
    with pytest.raises(SourceError, match="the repository's own code"):
        read_repo(open_source(folder))
    assert not mark.exists()


def test_names_that_leave_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    """Neither a tokenizer file nor a shard may point elsewhere."""
    (tmp_path / "tokenizer.1.0.json").write_text("{}", "utf-8")
    edit(folder, "tokenizer_config.json", lambda d: d.update(fast_tokenizer_files=["../tokenizer.1.0.json"]))
    assert read_repo(open_source(folder)).pad == Token("<pad>", 3)
    source = open_source(folder)
    for name in ("../secret", "/etc/passwd", "a/../../secret", "", "a\0b"):
        with pytest.raises(SourceError):
            source.read(name, 100)


def test_a_shard_index_that_lies(folder: Path) -> None:
    """An index that names missing or foreign shards is a problem, not an end."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    index = {
        "weight_map": {"model.embed_tokens.weight": "../../etc/passwd", "lm_head.weight": "gone.safetensors"}
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    state = read_repo(open_source(folder))
    assert state.pad is not None
    assert any("is not there" in problem for problem in state.problems)


def test_terminal_escapes_stay_in_the_record(folder: Path) -> None:
    """A token is kept as it is; showing it safely is the renderers' work."""
    evil = "\x1b]0;owned\x07[bold]\x1b[2J"
    edit(folder, "tokenizer_config.json", lambda data: data.update(pad_token=evil))
    state = read_repo(open_source(folder))
    assert state.pad is not None
    assert state.pad.text == evil


def test_nothing_that_padding_needs(tmp_path: Path) -> None:
    """An empty folder and one of other files are refused with the reason."""
    (tmp_path / "notes.txt").write_text("hello", "utf-8")
    with pytest.raises(SourceError, match="none of its 1 files"):
        read_repo(open_source(tmp_path))
