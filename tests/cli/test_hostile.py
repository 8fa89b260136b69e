"""Attacks by name, through the command: whatever a repository holds, the output is inert and nothing of it runs."""

from __future__ import annotations

import json
import pickle
import struct
import time
import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from checkpoints import write_checkpoint

FORMATS: Final = ("text", "json", "jsonl", "markdown", "sarif", "github", "html")
ESCAPES: Final = "<\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u200b>"
MARKUP: Final = "<[bold red]x[/]|`a`{{ 7*7 }}<script>alert(1)</script>::error::@all\n::error::forged>"


def config(**changes: Any) -> Callable[[Path], None]:
    """Other values in the three small files that can hold an id."""

    def attack(folder: Path) -> None:
        for name in ("config.json", "generation_config.json"):
            data = json.loads((folder / name).read_text("utf-8"))
            (folder / name).write_text(json.dumps({**data, **changes}), "utf-8")

    return attack


def raw(name: str, content: str) -> Callable[[Path], None]:
    """A file of exactly this text."""
    return lambda folder: void((folder / name).write_text(content, "utf-8"))


def void(_: object) -> None:
    """Nothing."""


def token(text: str) -> Callable[[Path], None]:
    """A pad of this name, which has no row, so that findings must show it."""

    def attack(folder: Path) -> None:
        write_checkpoint(folder, pad=text, vocab_size=3)

    return attack


def header(folder: Path) -> None:
    """A safetensors file that says that its header has 100 MB."""
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 100_000_000) + b'{"a":')


def link(folder: Path) -> None:
    """A tokenizer config that is a file of somebody else."""
    secret = folder.parent / "secret.json"
    secret.write_text('{"pad_token": "stolen"}', "utf-8")
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").symlink_to(secret)


def code(folder: Path) -> None:
    """``auto_map`` that names a module which writes a file when it is imported."""
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(folder.parent / 'written')!r}).touch()\nclass C: ...\n", "utf-8"
    )
    for name, mapped in (
        ("config.json", {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.C", "evil.C"]}),
    ):
        data = json.loads((folder / name).read_text("utf-8"))
        data |= {"auto_map": mapped} | ({"model_type": "evil"} if name == "config.json" else {})
        (folder / name).write_text(json.dumps({**data, "tokenizer_class": "C"}), "utf-8")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def a_pickle(folder: Path) -> None:
    """Weights that write a file when they are unpickled, in every name that transformers may load."""
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "training_args.bin", "adapter_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Evil(folder.parent / "written")))


HUGE: Final = "9" * 4000
# attack, what makes it, exit code of an audit for training, what the text says
ATTACKS: Final[dict[str, tuple[Callable[[Path], None], int, str]]] = {
    "header of 100 MB": (header, 0, "declares a header of 100,000,000 bytes"),
    "deep nesting": (raw("config.json", '{"a":' * 1_000_000), 2, "nested too deeply"),
    "deep nesting in the tokenizer": (raw("tokenizer.json", "[" * 1_000_000), 2, "nested too deeply"),
    "NaN": (raw("config.json", '{"model_type": "llama", "pad_token_id": NaN}'), 1, "PAD204"),
    "infinity": (raw("generation_config.json", '{"pad_token_id": -Infinity}'), 1, "PAD204"),
    "a huge int": (config(pad_token_id=int(HUGE)), 1, "an integer of 13288 bits"),
    "a larger int": (
        raw("config.json", '{"pad_token_id": ' + HUGE * 2 + "}"),
        2,
        "number that is too large",
    ),
    "a key twice": (raw("config.json", '{"pad_token_id": 3, "pad_token_id": 77, "vocab_size": 16}'), 1, "77"),
    "an id as a string": (config(pad_token_id="3\x1b[31m"), 1, "PAD204"),
    "an id as a list": (config(pad_token_id=[1, [2, "\x1b"]]), 1, "PAD204"),
    "an id as a boolean": (config(pad_token_id=True), 1, "PAD204"),
    "a link out of the folder": (link, 2, "link that leaves the folder"),
    "terminal escapes in a token": (token(ESCAPES), 1, "PAD101"),
    "rich markup and HTML in a token": (token(MARKUP), 1, "PAD101"),
    "auto_map": (code, 2, "the repository's own code"),
    "a pickle": (a_pickle, 0, ""),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_audit_of_it(tmp_path, checkpoint, padfix, name):
    """In every format: the right exit code in bounded time, nothing printed that acts, nothing run, nothing leaked."""
    pytest.importorskip("jinja2")
    attack, wanted, said = ATTACKS[name]
    attack(checkpoint(tmp_path / "x", pad="<pad>"))
    files = [part for known in FORMATS[1:] for part in ("-f", f"{known}:out.{known}")]
    started = time.monotonic()
    shown = padfix("audit", "x", "--task", "training", "-f", "text", *files)
    assert time.monotonic() - started < 10
    assert shown.returncode == wanted, shown.stdout + shown.stderr
    assert said in shown.stdout
    written = {"text": shown.stdout, "summary": shown.stderr} | {
        known: (tmp_path / f"out.{known}").read_text("utf-8") for known in FORMATS[1:]
    }
    for known, text in written.items():
        acting = {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert not acting, (known, acting)
        assert "stolen" not in text
        assert "Traceback" not in text
        assert len(text) < 200_000
    for known in ("json", "sarif"):
        assert strict(written[known])
    assert all(strict(line)["source"] == "x" for line in written["jsonl"].splitlines())
    commands = written["github"].splitlines()
    assert [line for line in commands if not line.startswith(("::error ", "::warning ", "::notice "))] == []
    assert not [line for line in written["text"].splitlines() if line.startswith("::")]
    assert tags(written["html"])["script"] == 1
    assert "<script>alert" not in written["markdown"].replace("\\<", "")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_fix_of_it(tmp_path, checkpoint, padfix, name):
    """A refusal, or a diff that does nothing to a terminal; a dry run writes nothing, whatever the folder holds."""
    ATTACKS[name][0](checkpoint(tmp_path / "x", pad="<pad>"))
    old = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()}
    shown = padfix("fix", "x", "--strategy", "eos", "--dry-run")
    assert shown.returncode in (0, 1, 2)
    for text in (shown.stdout, shown.stderr):
        assert not {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}
        assert "Traceback" not in text
        assert "stolen" not in text
    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == old
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("name", ["auto_map", "a pickle", "terminal escapes in a token", "a huge int"])
def test_a_check_of_it(tmp_path, checkpoint, padfix, name):
    """Also the one command that loads models runs no code of theirs, and says why it cannot."""
    ATTACKS[name][0](checkpoint(tmp_path / "x", pad="<pad>"))
    shown = padfix("check", "x")
    assert shown.returncode == 2
    assert "transformers cannot load it" in shown.stderr
    assert not {
        c for c in shown.stdout + shown.stderr if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")
    }
    assert not (tmp_path / "written").exists()


def test_the_attacks_can_succeed(tmp_path, checkpoint):
    """What the tests above must not see does happen to whoever unpickles or imports."""
    folder = checkpoint(tmp_path / "x", pad="<pad>")
    a_pickle(folder)
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert (tmp_path / "written").exists()
    (tmp_path / "written").unlink()
    code(folder)
    exec((folder / "evil.py").read_text("utf-8"), {})
    assert (tmp_path / "written").exists()
    assert tags(f"<p>{MARKUP}</p>")["script"] == 1


def strict(text: str) -> Any:
    """JSON without NaN and infinities."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def tags(page: str) -> dict[str, int]:
    """How often each tag opens."""
    found: dict[str, int] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found[tag] = found.get(tag, 0) + 1

    Reader().feed(page)
    return found
