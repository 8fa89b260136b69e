"""Repairs of a folder's small files, checked with the real AutoTokenizer."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from checkpoints import write_checkpoint, write_weights
from padfix.auditing import audit
from padfix.errors import PadfixError, SourceError, StrategyError
from padfix.types import Token
from padfix.write.checkpoint import fix_checkpoint, plan_repair

TEXTS = ("hello world the pad", "a b c, 12.5 Ünïcode 日本 </s>", "")


def load(folder: Path) -> Any:
    """The tokenizer as a user loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


@pytest.mark.parametrize(
    ("strategy", "options", "pad", "pad_id"),
    [
        ("eos", {}, "</s>", 2),
        ("spare", {}, "[PAD]", 11),
        ("spare", {"pad_token": "<|fill|>"}, "<|fill|>", 11),
        ("auto", {}, "[PAD]", 11),
        ("auto", {"pad_token": "</s>"}, "</s>", 2),
    ],
)
def test_a_reload_gives_the_planned_pad(
    tmp_path: Path, strategy: str, options: dict[str, str], pad: str, pad_id: int
) -> None:
    """Law 5 on disk: AutoTokenizer reads back the planned pad and id, text encodes as before, the configs agree."""
    folder = write_checkpoint(tmp_path / "x")
    before = load(folder)
    encoded = [before(text)["input_ids"] for text in TEXTS]
    report = fix_checkpoint(folder, strategy=strategy, **options)
    assert report.changed
    assert report.verdict is None
    assert report.plan.pad is not None
    after = load(folder)
    assert (
        (after.pad_token, after.pad_token_id) == (report.plan.pad.text, report.plan.pad.id) == (pad, pad_id)
    )
    assert [after(text)["input_ids"] for text in TEXTS] == encoded
    assert (after.eos_token_id, after.bos_token_id, after.unk_token_id) == (2, 1, 0)
    assert read(folder, "generation_config.json")["pad_token_id"] == pad_id
    assert [f for f in audit(folder).findings if f.severity == "error"] == []


def test_a_second_fix_changes_nothing(tmp_path: Path) -> None:
    """Law 1 on disk: the plan of a fixed folder is empty, and no byte is written."""
    folder = write_checkpoint(tmp_path / "x")
    assert fix_checkpoint(folder, strategy="spare").changed
    once = content(folder)
    report = fix_checkpoint(folder, strategy="spare")
    assert not report.changed
    assert not report.plan
    assert content(folder) == once
    with pytest.raises(PadfixError, match="nothing to undo"):
        report.undo()


def test_only_the_planned_lines_change(tmp_path: Path) -> None:
    """Key order, indentation, numbers and characters of every file stay; the diff is a few lines long."""
    folder = write_checkpoint(tmp_path / "x", rope_theta=10000.0, initializer_range=2e-02)
    odd = (folder / "tokenizer_config.json").read_text("utf-8").replace("  ", "\t").replace("\n", "\r\n")
    odd = odd.replace(
        '"model_max_length": 64', '"model_max_length": 1000000000000000019884624838656,\r\n\t"note": "▁é"'
    )
    (folder / "tokenizer_config.json").write_bytes(odd.encode())
    old = content(folder)
    fix_checkpoint(folder, strategy="eos")
    new = content(folder)
    assert {name for name in new if new[name] != old.get(name)} <= {
        "tokenizer_config.json",
        "config.json",
        "generation_config.json",
    }
    assert new["tokenizer_config.json"].decode() == odd.replace(
        '\t"note": "▁é"', '\t"note": "▁é",\r\n\t"pad_token": "</s>"'
    )
    for name in new.keys() - {"model.safetensors"}:
        lost = set(old[name].decode().replace(",", "").splitlines()) - set(
            new[name].decode().replace(",", "").splitlines()
        )
        assert all("pad_token_id" in line for line in lost)


def test_configs_are_brought_in_step_with_a_valid_pad(tmp_path: Path) -> None:
    """A good pad is kept; the config and the generation config that disagree with it are set right."""
    folder = write_checkpoint(tmp_path / "x", pad="<pad>", pad_token_id=7)
    (folder / "generation_config.json").write_text('{"pad_token_id": 9}')
    report = fix_checkpoint(folder)
    assert report.plan.rung == "keep"
    assert (
        read(folder, "config.json")["pad_token_id"]
        == read(folder, "generation_config.json")["pad_token_id"]
        == 3
    )
    assert "tokenizer_config.json" not in {edit.target for edit in report.plan.edits}


def test_stale_files_of_older_versions(tmp_path: Path) -> None:
    """special_tokens_map.json wins over tokenizer_config.json at load, so the pad is named there too."""
    folder = write_checkpoint(tmp_path / "x")
    (folder / "special_tokens_map.json").write_text('{"eos_token": "</s>", "pad_token": "<s>"}')
    (folder / "added_tokens.json").write_text("{}")
    report = fix_checkpoint(folder, strategy="auto", pad_token="[PAD]")
    assert report.plan.pad is not None
    assert read(folder, "special_tokens_map.json") == {"eos_token": "</s>", "pad_token": "[PAD]"}
    assert read(folder, "added_tokens.json") == {"[PAD]": 11}
    assert (load(folder).pad_token, load(folder).pad_token_id) == ("[PAD]", 11)


def test_the_padding_block_of_the_backend(tmp_path: Path) -> None:
    """Rust, Java and Go consumers pad by the block in tokenizer.json: it names the same pad."""
    folder = write_checkpoint(tmp_path / "x", pad="<pad>")
    data = read(folder, "tokenizer.json")
    data["padding"] = {
        "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(data))
    fix_checkpoint(folder)
    assert read(folder, "tokenizer.json")["padding"]["pad_id"] == 3
    assert read(folder, "tokenizer.json")["padding"]["pad_token"] == "<pad>"
    from tokenizers import Tokenizer

    batch = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(["a", "a b"])
    assert batch[0].ids[-1] == 3


def test_new_rows_are_refused(tmp_path: Path) -> None:
    """A pad that needs an embedding row is refused with the numbers and the way round, and nothing changes."""
    folder = write_checkpoint(tmp_path / "x", vocab_size=11)
    old = content(folder)
    with pytest.raises(StrategyError, match="new embedding rows"):
        fix_checkpoint(folder, strategy="add")
    with pytest.raises(StrategyError, match="no spare row"):
        fix_checkpoint(folder, strategy="spare")
    with pytest.raises(StrategyError, match=r"not in the vocabulary|no spare row"):
        fix_checkpoint(folder, pad_token="<new>")
    assert content(folder) == old


@pytest.mark.parametrize(
    ("pad", "why"),
    [
        ("hello", "ordinary entry of the vocabulary, which plain text produces"),
        ("<s>", "it is BOS"),
        ("<unk>", "it is unk, and ordinary text can produce it"),
        ("<|im_start|>", "the chat template uses it"),
        ("<|image|>", "the config gives it a meaning (image_token_id)"),
        ("<|video|>", "its name belongs to another modality"),
        ("<|far|>", "not below the 16 rows"),
    ],
)
@pytest.mark.parametrize("strategy", ["auto", "spare", "add"])
def test_a_token_that_is_in_use_is_refused(tmp_path: Path, pad: str, why: str, strategy: str) -> None:
    """What speaks against a token on disk is what speaks against it live; it is not added a second time."""
    folder = with_tokens(
        write_checkpoint(tmp_path / "x", image_token_id=12),
        {"<|im_start|>": 11, "<|image|>": 12, "<|video|>": 13, "<|a|>": 14, "<|b|>": 15, "<|far|>": 16},
    )
    (folder / "chat_template.jinja").write_text("<|im_start|>{{ messages[0].content }}")
    old = content(folder)
    with pytest.raises(StrategyError, match=re.escape(f"'{pad}'") + ".*" + re.escape(why)):
        fix_checkpoint(folder, None, strategy, pad_token=pad)
    assert content(folder) == old


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("strategy", ["auto", "spare"])
def test_any_free_token_of_the_vocabulary_may_be_named(tmp_path: Path, special: bool, strategy: str) -> None:
    """A name that says nothing is enough where the caller gives it; AutoTokenizer reads it back, as `ensure_pad` does live."""
    from padfix import ensure_pad

    folder = with_tokens(write_checkpoint(tmp_path / "x"), {"<|fill|>": 11, "<|other|>": 12}, special=special)
    before = load(folder)
    encoded = [before(text)["input_ids"] for text in TEXTS]
    report = fix_checkpoint(folder, strategy=strategy, pad_token="<|fill|>")
    after = load(folder)
    assert (after.pad_token, after.pad_token_id) == ("<|fill|>", 11)
    assert [after(text)["input_ids"] for text in TEXTS] == encoded
    assert read(folder, "generation_config.json")["pad_token_id"] == 11
    assert report.after.n_tokens == report.before.n_tokens == 13
    live = ensure_pad(None, before, pad_token="<|fill|>")
    assert live.plan.pad == report.plan.pad
    again = fix_checkpoint(folder, strategy=strategy, pad_token="<|fill|>")
    assert not again.changed
    assert fix_checkpoint(folder, pad_token="<|other|>").plan.pad == Token("<|other|>", 12)


def with_tokens(folder: Path, tokens: dict[str, int], *, special: bool = True) -> Path:
    """The folder with more added tokens."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    tokenizer = read(folder, "tokenizer.json")
    tokenizer["added_tokens"] += [{"id": i, "content": text, **flags} for text, i in tokens.items()]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """The report says what would be, and the folder keeps every byte."""
    folder = write_checkpoint(tmp_path / "x")
    old = content(folder)
    report = fix_checkpoint(folder, strategy="eos", dry_run=True)
    assert (report.changed, report.dry_run, report.after.pad) == (False, True, report.plan.pad)
    assert content(folder) == old
    assert "would be" in str(report)


def test_a_copy(tmp_path: Path) -> None:
    """The source keeps every byte; the copy has the fix, the weights, subfolders and modes, and shares no file."""
    folder = write_checkpoint(tmp_path / "x")
    (folder / "model.safetensors").write_bytes(os.urandom(1000))
    (folder / "model.safetensors").chmod(0o600)
    (folder / "sub").mkdir()
    (folder / "sub/data.txt").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("x")
    old = content(folder)
    report = fix_checkpoint(folder, tmp_path / "new/y", "eos")
    copy = tmp_path / "new/y"
    assert content(folder) == old
    assert {name for name, data in content(copy).items() if data != old[name]} == {
        "tokenizer_config.json", "config.json", "generation_config.json"
    } - ({"config.json"} if read(folder, "config.json") == read(copy, "config.json") else set())  # fmt: skip
    assert content(copy).keys() == old.keys() - {".git/HEAD"}
    assert stat.S_IMODE((copy / "model.safetensors").stat().st_mode) == 0o600
    assert (copy / "model.safetensors").stat().st_ino != (folder / "model.safetensors").stat().st_ino
    assert load(copy).pad_token == "</s>"
    assert sorted(path.name for path in copy.parent.iterdir()) == ["y"]
    with pytest.raises(SourceError, match="exists and is not empty"):
        fix_checkpoint(folder, copy, "eos")
    report.undo()
    assert not copy.exists()


def test_a_copy_of_a_folder_that_needs_nothing(tmp_path: Path) -> None:
    """``dst`` is written even when nothing changes: the caller goes on with it."""
    folder = write_checkpoint(tmp_path / "x", pad="<pad>")
    report = fix_checkpoint(folder, tmp_path / "y")
    assert not report.changed
    assert content(tmp_path / "y") == content(folder)


@pytest.mark.parametrize("dst", ["x/inside", "x/../x/inside", "file"])
def test_where_a_copy_cannot_be(tmp_path: Path, dst: str) -> None:
    """Inside the source, or over a file: refused, and nothing is left behind."""
    folder = write_checkpoint(tmp_path / "x")
    (tmp_path / "file").write_text("x")
    old = content(tmp_path)
    with pytest.raises(SourceError):
        fix_checkpoint(folder, tmp_path / dst, "eos")
    assert content(tmp_path) == old


def test_a_copy_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    """A hostile repository cannot make the copy carry a private file; the cache's own links become files."""
    folder = write_checkpoint(tmp_path / "x")
    (tmp_path / "secret").write_text("key")
    (folder / "weights.bin").symlink_to("../secret")
    with pytest.raises(SourceError, match="leaves the folder"):
        fix_checkpoint(folder, tmp_path / "y", "eos")
    assert not (tmp_path / "y").exists()

    snapshot = tmp_path / "hub/models--a--b/snapshots/abc"
    write_checkpoint(tmp_path / "hub/models--a--b/blobs")
    snapshot.mkdir(parents=True)
    for file in (tmp_path / "hub/models--a--b/blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    with pytest.raises(SourceError, match="is a link"):
        fix_checkpoint(snapshot, strategy="eos")
    fix_checkpoint(snapshot, tmp_path / "z", "eos")
    assert load(tmp_path / "z").pad_token == "</s>"
    assert not any(path.is_symlink() for path in (tmp_path / "z").iterdir())


def test_undo_restores_every_byte(tmp_path: Path) -> None:
    """Files are as they were, one that the fix made is gone, and a later change is not overwritten."""
    folder = write_checkpoint(tmp_path / "x")
    old = content(folder)
    report = fix_checkpoint(folder, strategy="spare")
    report.undo()
    assert content(folder) == old
    with pytest.raises(PadfixError, match="undone already"):
        report.undo()
    report = fix_checkpoint(folder, strategy="spare")
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(PadfixError, match="was changed since"):
        report.undo()


def test_missing_and_broken_folders(tmp_path: Path) -> None:
    """No folder, a file, an empty folder, broken JSON: typed errors that say what."""
    with pytest.raises(SourceError, match="no such folder"):
        fix_checkpoint(tmp_path / "nope")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="is a file"):
        fix_checkpoint(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PadfixError):
        fix_checkpoint(tmp_path / "empty")
    for name in ("tokenizer_config.json", "config.json", "generation_config.json", "tokenizer.json"):
        folder = write_checkpoint(tmp_path / name)
        (folder / name).write_text("{")
        old = content(folder)
        with pytest.raises(PadfixError):
            fix_checkpoint(folder, strategy="eos")
        assert content(folder) == old


def test_the_diff_of_a_huge_file_is_short(tmp_path: Path) -> None:
    """A tokenizer.json on one line shows the part around the change, with true line numbers elsewhere."""
    folder = write_checkpoint(tmp_path / "x", vocab_size=40_100)
    data = read(folder, "tokenizer.json")
    data["model"]["vocab"].update({f"word{i}": i for i in range(11, 40_000)})
    (folder / "tokenizer.json").write_text(json.dumps(data))
    diff = plan_repair(folder, "spare").diff()
    assert '"content": "[PAD]"' in diff
    assert len(diff) < 4000
    (folder / "tokenizer.json").write_text(json.dumps(data, indent=2))
    diff = plan_repair(folder, "spare").diff()
    lines = (folder / "tokenizer.json").read_text().splitlines()
    start = int(re.search(r"@@ -(\d+),", diff)[1])  # type: ignore[index]
    shown = [line[1:] for line in diff.split("--- a/")[1].splitlines()[3:] if line[:1] in " -"]
    assert shown == lines[start - 1 : start - 1 + len(shown)], (
        "the hunk's line number and context are the file's"
    )
    assert len(diff) < 4000


def test_the_diff_cuts_at_line_breaks_only(tmp_path: Path) -> None:
    """A line separator inside a string is part of its line."""
    folder = write_checkpoint(tmp_path / "x", note="a\u2028b\x0c")
    diff = plan_repair(folder, "spare").diff()
    assert '"note": "a\u2028b' in diff
    assert all(line[:1] in "-+@ \\" for line in diff.removesuffix("\n").split("\n"))


def repairable(corpus: Path, name: str, tmp_path: Path) -> Path:
    """A corpus folder's files, copied: they are read-only where they are."""
    folder = tmp_path / "repo"
    shutil.copytree(corpus / name, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the tokenizers: optional packages, doubled </s>
@pytest.mark.parametrize("strategy", ["auto", "eos", "spare"])
def test_corpus(corpus: Path, corpus_name: str, tmp_path: Path, strategy: str) -> None:
    """Real tokenizers: the reload gives the planned pad, text encodes as before, and no new error appears."""
    folder = repairable(corpus, corpus_name, tmp_path)
    try:
        before = load(folder)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        pytest.skip(f"transformers itself cannot load it here: {error!r}"[:200])
    if strategy == "spare":
        if before.pad_token is not None or not (folder / "config.json").is_file():
            pytest.skip("has a pad, or no model to have spare rows")
        write_weights(folder, max(before.get_vocab().values()) + 100)
    old_errors = {f.code for f in audit(folder).findings if f.severity == "error"}
    old = content(folder)
    try:
        report = fix_checkpoint(folder, strategy=strategy)
    except StrategyError as error:
        assert content(folder) == old
        pytest.skip(str(error)[:200])
    assert report.plan.pad is not None
    after = load(folder)
    assert (after.pad_token, after.pad_token_id) == (report.plan.pad.text, report.plan.pad.id)
    for text in TEXTS:
        assert after(text)["input_ids"] == before(text)["input_ids"]
    for name in (
        "eos_token_id",
        "bos_token_id",
        "unk_token_id",
        "cls_token_id",
        "sep_token_id",
        "mask_token_id",
    ):
        assert getattr(after, name) == getattr(before, name)
    assert {f.code for f in audit(folder).findings if f.severity == "error"} <= old_errors
    assert not fix_checkpoint(folder, strategy=strategy).changed
