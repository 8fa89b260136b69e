"""The attacks that a folder can make, served by a hub: each ends as it does from a folder, in bounded time."""

from __future__ import annotations

import json
import pickle
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
from server import Running, running

from checkpoints import write_checkpoint
from padfix.errors import SourceError
from padfix.hub.client import Client
from padfix.hub.run import Options, audit_hub
from padfix.hub.source import BYTES, HubSource
from padfix.hub.state import hub_state
from padfix.read.repo import read_repo
from padfix.read.source import FolderSource
from padfix.types import PadState

MARK = "written-by-the-repository"
EVIL = "\x1b]0;owned\x07[bold]\x1b[2J"


class Evil:
    """A pickle that writes a file where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(MARK),))


def settings(**changes: Any) -> Callable[[Path], None]:
    """A change of ``tokenizer_config.json``."""

    def change(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")

    return change


def text(name: str, content: str) -> Callable[[Path], object]:
    """A whole file."""
    return lambda folder: (folder / name).write_text(content, "utf-8")


def raw(name: str, content: bytes) -> Callable[[Path], object]:
    """A whole file of bytes."""
    return lambda folder: (folder / name).write_bytes(content)


def code(folder: Path) -> None:
    """A model and a tokenizer whose code, and a pickle, would write a file."""
    (folder / "evil.py").write_text(f"open({MARK!r}, 'w')", "utf-8")
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    settings(tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.T", None]})(folder)
    text("config.json", '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}')(folder)


def stray_shards(folder: Path) -> None:
    """An index whose shards lie outside."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    shards = {"model.embed_tokens.weight": "../../etc/passwd", "lm_head.weight": "gone.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}), "utf-8")


ATTACKS: dict[str, Callable[[Path], object]] = {
    "header-of-100-mb": raw("model.safetensors", struct.pack("<Q", 100_000_000) + b'{"a":'),
    "header-of-2-64": raw("model.safetensors", struct.pack("<Q", 2**64 - 1) + b'{"a":'),
    "deep-config": text("config.json", "[" * 1_000_000),
    "deep-settings": text("tokenizer_config.json", '{"a":' * 100_000),
    "deep-tokenizer": text("tokenizer.json", '{"a":' * 1_000_000),
    "nan": text("config.json", '{"model_type": "llama", "pad_token_id": NaN, "eos_token_id": 1e400}'),
    "huge-integer": text("config.json", '{"model_type": "llama", "pad_token_id": ' + "9" * 4000 + "}"),
    "endless-integer": text("config.json", '{"pad_token_id": ' + "9" * 5000 + "}"),
    "key-twice": text("config.json", '{"model_type": "llama", "pad_token_id": 1, "pad_token_id": 3}'),
    "id-as-string": text("config.json", '{"model_type": "llama", "pad_token_id": "3"}'),
    "id-as-list": text("config.json", '{"model_type": "llama", "pad_token_id": [2, 3]}'),
    "id-as-boolean": text("config.json", '{"model_type": "llama", "pad_token_id": true}'),
    "pad-as-list": settings(pad_token=["<pad>"]),
    "class-as-number": settings(tokenizer_class=3),
    "decoder-without-ids": settings(added_tokens_decoder={"x": {"content": "<pad>"}}),
    "terminal-escapes": settings(pad_token=EVIL),
    "not-utf-8": raw("tokenizer_config.json", b'{"pad_token": "\xff"}'),
    "byte-order-mark": raw("tokenizer_config.json", b'\xef\xbb\xbf{"pad_token": "<pad>"}'),
    "vocabulary-of-strings": lambda folder: (folder / "tokenizer.json").write_text(
        (folder / "tokenizer.json").read_text("utf-8").replace('"hello": 4', '"hello": "4"'), "utf-8"
    ),
    "code-and-pickle": code,
    "shards-elsewhere": stray_shards,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    root = tmp_path_factory.mktemp("attacks")
    options = []
    for name, attack in ATTACKS.items():
        attack(write_checkpoint(root / "evil" / name, pad="<pad>"))
        options += ["--folder", f"evil/{name}={root / 'evil' / name}"]
    with running(*options) as hub:
        yield hub, root


def outcome(read: Callable[[], PadState]) -> PadState | None:
    """The state, None where it is refused with a reason; anything else is a failure."""
    try:
        return read()
    except SourceError:
        return None


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_over_http_is_the_attack_of_a_folder(
    served: tuple[Running, Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same state or a refusal, nothing run, within time and bytes; within the budget, no other pad."""
    hub, root = served
    monkeypatch.chdir(tmp_path)
    hub.reset()
    folder = outcome(lambda: read_repo(FolderSource(root / "evil" / name)))
    started = time.monotonic()
    source = f"evil/{name}"
    whole = outcome(
        lambda: hub_state(HubSource(Client(hub.url, False, timeout=20), source, requests=None, n_bytes=None))
    )
    assert (whole and whole.portable()) == (folder and folder.portable())
    hub.reset()
    part = outcome(lambda: hub_state(HubSource(Client(hub.url, False, timeout=20), source)))
    asked, followed, sent = hub.stats()["repos"][source]
    assert asked + followed <= 4
    assert sent <= BYTES
    assert part is None or (folder is not None and part.pad == folder.pad)
    assert time.monotonic() - started < 20
    assert not (tmp_path / MARK).exists()


def test_every_attack_is_a_report(served: tuple[Running, Path]) -> None:
    """In a run of all of them none is lost, and each skip has a kind."""
    hub, _ = served
    names = [f"evil/{name}" for name in ATTACKS]
    reports = list(audit_hub(names, Options(endpoint=hub.url, cache=False)))
    assert sorted(report.source.split("@")[0] for report in reports) == sorted(names)
    reasons = [skip.reason for report in reports for skip in report.skipped]
    assert reasons and not [reason for reason in reasons if reason.startswith(("failed", "unavailable"))]
