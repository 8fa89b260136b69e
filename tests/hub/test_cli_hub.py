"""The command line against a hub: what it prints, where it writes, how it exits, what it resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
from server import Running
from test_local_hub import synthetic

from real_tokenizers import corpus_root

CODE = "import sys; from padfix.cli.main import main; sys.exit(main())"


def environment(hub: Running, tmp_path: Path, **more: str) -> dict[str, str]:
    quiet = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "CI")}
    return {**quiet, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "NO_COLOR": "1",
            "PADFIX_CACHE": str(tmp_path / "cache"), **more}  # fmt: skip


def padfix(hub: Running, tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
        env=environment(hub, tmp_path, **more),
    )  # fmt: skip


def test_one_repository(hub: Running, tmp_path: Path) -> None:
    """padfix audit org/name finds what is there and exits 1 for an error."""
    name = synthetic("pad-out-of-range")
    done = padfix(hub, tmp_path, "audit", name)
    assert done.returncode == 1, done.stderr
    assert name in done.stdout and "PAD101" in done.stdout
    assert padfix(hub, tmp_path, "audit", synthetic("bert")).returncode == 0


@pytest.mark.skipif(corpus_root() is None, reason="no corpus: set PADFIX_CORPUS")
def test_what_was_not_looked_at(hub: Running, tmp_path: Path) -> None:
    """An audit within the budget says on stderr what it left out and how to read everything, which then says nothing."""
    name = "gpt2/dialogpt-small"
    done = padfix(hub, tmp_path, "audit", name)
    assert f"{name}: not looked at: generation_config.json, most of vocab.json" in done.stderr
    assert "--requests 0" in done.stderr
    assert "PAD001" in done.stdout
    assert "not looked at" not in padfix(hub, tmp_path, "audit", name, "-q").stderr
    whole = padfix(hub, tmp_path, "audit", name, "--requests", "0")
    assert "not looked at" not in whole.stderr
    assert "PAD301" in whole.stdout


@pytest.mark.skipif(corpus_root() is None, reason="no corpus: set PADFIX_CORPUS")
@pytest.mark.parametrize("name", ["llama/llama3.2", "qwen/qwen3-235b-a22b-mlx-4bit", "albert/albert-base-v2"])
def test_all_that_goes_over_the_wire(hub: Running, tmp_path: Path, name: str) -> None:
    """The whole process sends at most four requests and gets 300 kB, redirects and all, for 17 MB in LFS too."""
    hub.reset()
    done = padfix(hub, tmp_path, "audit", name, "-f", "json")
    assert json.loads(done.stdout)["reports"][0]["state"]["tokenizer_class"], done.stderr
    stats = hub.stats()
    assert sum(stats["kinds"].values()) <= 4
    assert stats["bytes"] <= 300_000


def test_a_folder_wins_over_a_repository(hub: Running, tmp_path: Path) -> None:
    """A path of this machine is audited without a request, as transformers does."""
    name = synthetic("bert")
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "config.json").write_text('{"model_type": "bert"}')
    hub.reset()
    padfix(hub, tmp_path, "audit", name)
    assert sum(hub.stats()["kinds"].values()) == 0


@pytest.mark.parametrize("kind", ["gated", "private", "disabled", "missing"])
def test_refused(hub: Running, tmp_path: Path, kind: str) -> None:
    """A named repository that may not be read is exit code 2 with the reason; the token is not shown."""
    name = "no/such" if kind == "missing" else synthetic(kind)
    done = padfix(hub, tmp_path, "audit", name, HF_TOKEN="hf_reader")
    assert done.returncode == 2
    assert {"gated": "gated", "disabled": "disabled"}.get(kind, "not-found") in done.stdout + done.stderr
    assert "hf_reader" not in done.stdout + done.stderr


def test_the_usual_token(hub: Running, tmp_path: Path) -> None:
    """HF_TOKEN opens what it may open."""
    assert padfix(hub, tmp_path, "audit", synthetic("private"), HF_TOKEN="hf_owner").returncode != 2


def test_author_and_resume(hub: Running, tmp_path: Path) -> None:
    """An organisation's results go to a file that a second run refuses, and --resume continues and sums up."""
    first = padfix(hub, tmp_path, "audit", "--author", "org-03", "-f", "jsonl:o.jsonl", "-f", "html:o.html")
    assert first.returncode == 1, first.stderr
    whole = (tmp_path / "o.jsonl").read_bytes()
    again = padfix(hub, tmp_path, "audit", "--author", "org-03", "-f", "jsonl:o.jsonl")
    assert again.returncode == 2 and "--resume" in again.stderr
    assert (tmp_path / "o.jsonl").read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    (tmp_path / "o.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:40])
    (tmp_path / "p.json").unlink(missing_ok=True)
    resumed = padfix(
        hub, tmp_path, "audit", "--author", "org-03", "-f", "jsonl:o.jsonl", "-f", "json:p.json", "--resume"
    )
    assert resumed.returncode == 1

    def by_source(raw: bytes) -> dict[str, object]:
        return {record["source"]: record for record in map(json.loads, raw.splitlines())}

    assert by_source((tmp_path / "o.jsonl").read_bytes()) == by_source(whole)
    assert len((tmp_path / "o.jsonl").read_bytes().splitlines()) == len(lines)
    told = json.loads((tmp_path / "p.json").read_text())["reports"]
    assert sorted(r["source"] for r in told) == sorted(by_source(whole))  # the whole run, not the last part
    assert "worst first" in resumed.stderr and "family" in resumed.stderr


def test_resume_needs_a_file(hub: Running, tmp_path: Path) -> None:
    """--resume without a results file says what to add."""
    done = padfix(hub, tmp_path, "audit", "--author", "org-03", "--resume")
    assert done.returncode == 2 and "-f jsonl:FILE" in done.stderr


def test_interrupted_and_resumed(hub: Running, tmp_path: Path) -> None:
    """Ctrl-C ends with 130, what was found is in the file, and --resume finishes it."""
    hub.set(latency=0.03)
    command = [
        "audit",
        "--search",
        "/model-0",
        "--limit",
        "150",
        "-f",
        "jsonl:i.jsonl",
        "--concurrency",
        "4",
        "--resume",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *command], cwd=tmp_path, env=environment(hub, tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    file = tmp_path / "i.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (file.exists() and file.read_bytes().count(b"\n") >= 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    done = file.read_bytes().count(b"\n")
    assert 5 <= done < 150
    hub.set(latency=0)
    finished = padfix(hub, tmp_path, *command)
    assert finished.returncode in (0, 1), finished.stderr
    sources = [json.loads(line)["source"] for line in file.read_bytes().splitlines()]
    assert len(sources) == len(set(sources)) == 150


def test_survey(hub: Running, tmp_path: Path) -> None:
    """--survey asks the listing only."""
    hub.reset()
    done = padfix(hub, tmp_path, "audit", "--survey", "--author", "org-04", "-f", "jsonl")
    assert done.returncode == 0, done.stderr
    assert hub.stats()["kinds"]["api"] == 1
    assert hub.stats()["kinds"].get("resolve", 0) == 0
    assert all(json.loads(line)["source"].startswith("org-04/") for line in done.stdout.splitlines())


def test_from_file_and_stdin_mix_names_and_folders(hub: Running, tmp_path: Path) -> None:
    """Names, folders and comments of a list are told apart."""
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "list").write_text(f"# ours\n{synthetic('bert')}\nlocal\n")
    done = padfix(hub, tmp_path, "audit", "--from-file", "list", "-f", "jsonl")
    assert {json.loads(line)["source"] for line in done.stdout.splitlines()} == {synthetic("bert"), "local"}


def test_fix_is_a_dry_run(hub: Running, tmp_path: Path) -> None:
    """fix org/name shows the diff and sends nothing; --create-pr alone neither; with --yes it opens one."""
    name = synthetic("llama-reserved")
    before = len(hub.ask("pulls").get(name, ()))
    shown = padfix(hub, tmp_path, "fix", name)
    assert '+  "pad_token"' in shown.stdout and "nothing sent" in shown.stderr
    asked = padfix(hub, tmp_path, "fix", name, "--create-pr", HF_TOKEN="hf_reader")
    assert "--yes" in asked.stderr
    assert len(hub.ask("pulls").get(name, ())) == before
    done = padfix(hub, tmp_path, "fix", name, "--create-pr", "--yes", HF_TOKEN="hf_reader")
    assert f"{hub.url}/{name}/discussions/" in done.stderr, done.stderr
    assert len(hub.ask("pulls")[name]) == before + 1
    assert "hf_reader" not in done.stdout + done.stderr


def test_library(hub: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """padfix.audit("org/name") asks the hub, and a missing one is an error that says so."""
    import padfix

    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    report = padfix.audit(synthetic("pad-out-of-range"))
    assert "PAD101" in {f.code for f in report.findings}
    with pytest.raises(padfix.SourceError, match="no such repository"):
        padfix.audit("no/such")
