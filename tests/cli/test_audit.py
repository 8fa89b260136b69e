"""``padfix audit`` as a user runs it: sources, formats, exit codes, streams, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CLEAN, FOUND, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130


def test_exit_codes(tmp_path, checkpoint, padfix):
    """0 clean, 1 findings at or above --fail-on, 2 could not run; --exit-zero softens 1 and not 2."""
    good = checkpoint(tmp_path / "good", pad="<pad>")
    bad = checkpoint(tmp_path / "bad")
    assert padfix("audit", good).returncode == CLEAN
    assert padfix("audit", bad, "--task", "training").returncode == FOUND
    assert padfix("audit", bad, "--task", "training", "--exit-zero").returncode == CLEAN
    assert padfix("audit", bad, "--task", "generation").returncode == CLEAN
    assert padfix("audit", bad, "--task", "generation", "--fail-on", "warning").returncode == FOUND
    assert padfix("audit", bad, "--task", "training", "--fail-on", "never").returncode == CLEAN
    assert padfix("audit", tmp_path / "nope", "--exit-zero").returncode == COULD_NOT_RUN
    assert padfix("audit", good, tmp_path / "nope").returncode == COULD_NOT_RUN


def test_data_on_stdout_the_rest_on_stderr(tmp_path, checkpoint, padfix):
    """Findings go to stdout; the summary to stderr, and -q removes it; -qq removes both."""
    bad = checkpoint(tmp_path / "bad")
    shown = padfix("audit", "bad", "--task", "training")
    assert "PAD001 missing-pad-token" in shown.stdout
    assert shown.stdout.startswith("bad: ")
    assert shown.stderr.startswith("audited 1 repository: ")
    assert padfix("audit", bad, "-q").stderr == ""
    silent = padfix("audit", bad, "--task", "training", "-qq")
    assert (silent.stdout, silent.stderr, silent.returncode) == ("", "", FOUND)
    clean = padfix("audit", checkpoint(tmp_path / "good", pad="<pad>"), "-v", "--select", "PAD0")
    assert "no findings" in clean.stdout
    assert "configuration: none" in clean.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("audit",), "nothing to audit: name a folder"),
        (("audit", "nope"), "nope: no such folder"),
        (("audit", "x", "--task", "chat"), "--task 'chat' is not one of generation, training"),
        (("audit", "x", "--fail-on", "bad"), "--fail-on 'bad' is not one of error"),
        (("audit", "x", "-f", "xml"), "unknown format 'xml'; there are text, json"),
        (("audit", "x", "-f", "json:"), "no path after the colon"),
        (("audit", "x", "-f", "json", "-f", "text"), "give all but one a path"),
        (("audit", "x", "-f", "json:a.json", "-o", "b.json"), "every format has a path"),
        (("audit", "x", "-o", "no/such/folder/x.txt"), "cannot write no/such/folder/x.txt: No such file"),
        (("audit", "x", "--select", "PAD0,XYZ"), "select: no rule matches 'XYZ'"),
        (("audit", "x", "--color", "blue"), "--color 'blue' is not one of auto, always, never"),
        (("audit", "--from-file", "nope.txt"), "--from-file nope.txt: No such file"),
        (("audit", "--config", "nope.toml", "x"), "nope.toml: cannot be read"),
        (("audit", "--cache"), "no Hugging Face cache at"),
        (("audit", "-r", "empty"), "no tokenizer or model below empty"),
        (("audit", "empty"), "skipped empty: it holds no files"),
        (
            ("audit", "."),
            "is a tokenizer's or a model's; models is a repository: padfix audit -r . ",
        ),
        (("audit", "a-file.txt"), "a-file.txt is a file; audit the folder it is in: padfix audit ."),
        (("audit", "--wrong"), "No such option: --wrong"),
        (("wrong",), "No such command 'wrong'"),
    ],
)
def test_what_a_user_gets_wrong(tmp_path, padfix, arguments, said):
    """Each mistake gives exit code 2, one sentence that says what is right, and no traceback."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file.txt").write_text("x")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/tokenizer_config.json").write_text("{}")
    shown = padfix(*arguments, HF_HOME=str(tmp_path / "no-cache"), HF_HUB_CACHE=None)
    assert shown.returncode == COULD_NOT_RUN
    assert said in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr
    assert "no findings" not in shown.stderr


@pytest.mark.parametrize(
    "name", ["tokenizer_config.json", "config.json", "tokenizer.json", "generation_config.json"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe{}", b'{"a":' * 50_000, b"\x00"])
def test_broken_files_never_crash(tmp_path, checkpoint, name, content):
    """A broken file is a typed skip or a finding, never another exception."""
    from padfix.auditing import audit_many

    folder = checkpoint(tmp_path / "x", pad="<pad>")
    (folder / name).write_bytes(content)
    (report,) = audit_many([folder])
    assert report.skipped or report.findings


def test_tree_list_stdin_and_cache(tmp_path, checkpoint, padfix):
    """-r finds every repository below a folder; names come from stdin and from files; the cache is walked."""
    for name in ("tree/a", "tree/b/c", "tree/.hidden", "tree/node_modules/x"):
        checkpoint(tmp_path / name, pad="<pad>")
    (tmp_path / "tree/app").mkdir()
    (tmp_path / "tree/app/config.json").write_text('{"port": 80}')
    found = [
        json.loads(line)["source"]
        for line in padfix("audit", "-r", "tree", "-f", "jsonl").stdout.splitlines()
    ]
    assert found == ["tree/a", "tree/b/c"]

    (tmp_path / "names.txt").write_text("# ours\ntree/a\n\n  tree/b/c  # second\n")
    listed = padfix("audit", "--from-file", "names.txt", "-f", "jsonl").stdout
    piped = padfix("audit", "-", "-f", "jsonl", stdin="tree/a\ntree/b/c\n").stdout
    assert listed == piped
    assert len(listed.splitlines()) == 2

    commit = "a" * 40
    repo = tmp_path / "hub/models--org--name"
    checkpoint(repo / "blobs", pad="<pad>")
    (repo / "snapshots" / commit).mkdir(parents=True)
    for file in (repo / "blobs").iterdir():
        (repo / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{file.name}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    (tmp_path / "hub/models--org--broken").mkdir()
    lines = [
        json.loads(line)
        for line in padfix(
            "audit", "--cache", "-f", "jsonl", HF_HUB_CACHE=str(tmp_path / "hub")
        ).stdout.splitlines()
    ]
    assert [(line["source"], line["state"] is not None) for line in lines] == [
        ("org/broken", False),
        ("org/name", True),
    ]
    by_path = padfix("audit", repo / "snapshots" / commit)
    assert (by_path.returncode, "skipped" in by_path.stdout) == (CLEAN, False)


def test_a_found_source_that_cannot_be_read_is_counted_not_fatal(tmp_path, checkpoint, padfix):
    """What -r finds and cannot read is a skip; what the user named is exit code 2."""
    checkpoint(tmp_path / "tree/a", pad="<pad>")
    broken = checkpoint(tmp_path / "tree/broken", pad="<pad>")
    (broken / "tokenizer_config.json").write_text("{")
    walked = padfix("audit", "-r", "tree")
    assert walked.returncode == CLEAN
    assert "tokenizer_config.json" in walked.stdout


def test_against_another_checkpoint(tmp_path, checkpoint, padfix):
    """--base and --draft compare every source with one more, whose absence is exit code 2."""
    checkpoint(tmp_path / "base", pad="<pad>", vocab_size=24)
    checkpoint(tmp_path / "tree/cut", pad="<pad>", vocab_size=16)
    checkpoint(tmp_path / "tree/whole", pad="<pad>", vocab_size=24)
    adapter = checkpoint(tmp_path / "adapter", pad="<pad>")
    for name in ("config.json", "model.safetensors"):
        (adapter / name).unlink()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    write_matrix(adapter / "adapter_model.safetensors", "base_model.model.model.embed_tokens.weight", 17)
    alone = padfix("audit", "-r", "tree", "--select", "PAD105,PAD6", "-f", "json")
    assert (alone.returncode, "PAD" in alone.stdout) == (CLEAN, False)
    both = padfix("audit", "-r", "tree", "--base", "base", "--select", "PAD105,PAD6", "-f", "json")
    assert both.returncode == FOUND
    by_source = {
        report["source"]: {f["code"] for f in report["findings"]}
        for report in json.loads(both.stdout)["reports"]
    }
    assert by_source == {"tree/cut": {"PAD105"}, "tree/whole": set()}
    drafted = padfix("audit", "tree/whole", "--draft", "tree/cut")
    assert (drafted.returncode, "PAD605" in drafted.stdout) == (CLEAN, True)
    assert padfix("audit", "tree/whole", "--draft", "tree/cut", "--fail-on", "warning").returncode == FOUND
    assert "PAD601" not in padfix("audit", "adapter").stdout
    adapted = padfix("audit", "adapter", "--base", "base")
    assert adapted.returncode == FOUND
    assert "stores 17 rows" in adapted.stdout
    wrong = padfix("audit", "adapter", "--base", "nope")
    assert (wrong.returncode, wrong.stdout) == (COULD_NOT_RUN, "")
    assert "nope: no such folder" in wrong.stderr


def test_a_gguf_file_against_its_original(tmp_path, checkpoint, padfix):
    """A file converted before the pad was added shows as a warning for serving, without a --task."""
    gguf = pytest.importorskip("gguf")
    import numpy as np

    checkpoint(tmp_path / "original", pad="<pad>")
    for name, pad, rows in (("same.gguf", 3, 16), ("old.gguf", None, 15)):
        writer = gguf.GGUFWriter(tmp_path / name, "llama")
        writer.add_token_list(["<unk>", "<s>", "</s>", "<pad>", *map(str, range(8))])
        if pad is not None:
            writer.add_pad_token_id(pad)
        writer.add_eos_token_id(2)
        writer.add_tensor("token_embd.weight", np.zeros((rows, 8), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    assert "PAD604" not in padfix("audit", "same.gguf", "--base", "original").stdout
    old = padfix("audit", "old.gguf", "--base", "original")
    assert "the GGUF header pads with nothing, the original with '<pad>' (3)" in " ".join(old.stdout.split())
    assert "the GGUF file has 15 rows, the original 16" in old.stdout
    assert old.returncode == CLEAN
    assert "PAD105" not in old.stdout
    assert padfix("audit", "old.gguf", "--base", "original", "--fail-on", "warning").returncode == FOUND


def write_matrix(path: Path, name: str, rows: int) -> None:
    """A safetensors file with one matrix, two columns wide."""
    entry = {name: {"dtype": "F32", "shape": [rows, 2], "data_offsets": [0, rows * 8]}}
    header = json.dumps(entry).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(rows * 8))


def test_formats_to_files(tmp_path, checkpoint, padfix):
    """-f NAME:PATH is repeatable, one of them may go to stdout, and every file is written."""
    pytest.importorskip("jinja2")
    checkpoint(tmp_path / "bad")
    names = ("json", "jsonl", "markdown", "sarif", "github", "html")
    options = [part for name in names for part in ("-f", f"{name}:out.{name}")]
    shown = padfix("audit", "bad", "--task", "training", "-f", "text", *options)
    assert shown.returncode == FOUND
    assert "PAD001" in shown.stdout
    for name in names:
        assert "PAD001" in (tmp_path / f"out.{name}").read_text("utf-8")
    assert "\x1b" not in (tmp_path / "out.html").read_text("utf-8")
    assert padfix("audit", "bad", "-o", "out.txt").stdout == ""
    assert "PAD001" in (tmp_path / "out.txt").read_text("utf-8")


def test_select_ignore_and_configuration(tmp_path, checkpoint, padfix):
    """Prefixes choose rules; the file's ignores hold, per source too; --isolated leaves the file out."""
    checkpoint(tmp_path / "bad")
    assert "PAD001" not in padfix("audit", "bad", "--task", "training", "--ignore", "PAD0").stdout
    only = json.loads(
        padfix("audit", "bad", "--task", "training", "--select", "PAD2,PAD001", "-f", "json").stdout
    )
    assert {finding["code"][:4] for finding in only["reports"][0]["findings"]} <= {"PAD2", "PAD0"}
    (tmp_path / "padfix.toml").write_text('task = "training"\n[per-source."ba*"]\nPAD001 = "known"\n')
    assert padfix("audit", "bad").returncode == CLEAN
    assert padfix("audit", "bad", "--isolated", "--task", "training").returncode == FOUND
    assert "padfix.toml" in padfix("audit", "bad", "-v").stderr
    (tmp_path / "bad/padfix.toml").write_text('[ignore]\nPAD001 = "a repository cannot excuse itself"\n')
    (tmp_path / "padfix.toml").unlink()
    assert padfix("audit", "bad", "--task", "training").returncode == FOUND
    (tmp_path / "padfix.toml").write_text("tsak = 1\nselect = 2\n")
    wrong = padfix("audit", "bad")
    assert wrong.returncode == COULD_NOT_RUN
    assert "2 problems" in wrong.stderr


@pytest.mark.parametrize(
    ("option", "env", "coloured"),
    [
        ((), {}, False),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour(tmp_path, checkpoint, padfix, option, env, coloured):
    """--color beats NO_COLOR beats FORCE_COLOR beats the terminal."""
    checkpoint(tmp_path / "bad")
    assert ("\x1b[" in padfix("audit", "bad", *option, **env).stdout) == coloured


def test_hostile_names_do_not_reach_the_screen(tmp_path, checkpoint, padfix):
    """A token, a folder's name and a value with escape sequences are spelled out on both streams."""
    evil = "\x1b]0;owned\x07\u202e"
    folder = checkpoint(tmp_path / f"tree/e{evil}", pad=f"<pad{evil}>", pad_token_id=99)
    assert folder.is_dir()
    for arguments in (
        ("audit", "-r", "tree", "-v"),
        ("audit", folder, "--task", "training"),
        ("audit", f"nope{evil}"),
    ):
        shown = padfix(*arguments)
        assert "\x1b" not in shown.stdout + shown.stderr
        assert "\u202e" not in shown.stdout + shown.stderr
        assert "\x07" not in shown.stdout + shown.stderr
    assert r"\x1b" in padfix("audit", "-r", "tree", "-v").stdout


def test_other_encodings_and_no_home(tmp_path, checkpoint, process):
    """A latin-1 or ASCII terminal shows escapes, not an error; no HOME is no reason to fail."""
    folder = checkpoint(tmp_path / "▁unicode", pad="<pad▁>", pad_token_id=99)
    for encoding in ("latin-1", "ascii"):
        shown = process("audit", folder, PYTHONIOENCODING=encoding)
        assert shown.returncode == FOUND
        assert "\\u2581" in shown.stdout
    assert process("audit", folder, HOME=None, USERPROFILE=None).returncode == FOUND


def processes(*arguments: str, cwd: Path, **streams: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from padfix.cli.main import main; main()", *arguments]
    return subprocess.Popen(command, cwd=cwd, **streams)  # type: ignore[call-overload,no-any-return]


def test_a_closed_pipe_is_silent(tmp_path, checkpoint):
    """`padfix audit -r . | head -1` prints no traceback."""
    for i in range(40):
        checkpoint(tmp_path / f"tree/{i}")
    process = processes(
        "audit", "-r", "tree", "-f", "jsonl", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=60)
    assert "Traceback" not in said
    assert "Broken" not in said


def test_no_stdout_at_all(tmp_path, checkpoint):
    """Started with stdout closed, the exit code still tells."""
    checkpoint(tmp_path / "bad")
    command = f"{sys.executable} -c 'from padfix.cli.main import main; main()' audit bad --task training >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == FOUND
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
@pytest.mark.parametrize("name", ["jsonl", "json"])
def test_ctrl_c_keeps_what_was_found(tmp_path, checkpoint, name):
    """Interrupted while it waits for names: every report so far is written, and the exit code is 130."""
    checkpoint(tmp_path / "a")
    process = processes(
        "audit",
        "-",
        "-f",
        f"{name}:out",
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"a\na\n")
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (tmp_path / "out").exists():
        time.sleep(0.05)
    time.sleep(1.5)  # two small audits take milliseconds; the third name never comes
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert b"audited 2 repositories" in said
    assert b"interrupted" in said
    assert b"Traceback" not in said
    written = (tmp_path / "out").read_text()
    reports = (
        [json.loads(line) for line in written.splitlines()]
        if name == "jsonl"
        else json.loads(written)["reports"]
    )
    assert [report["source"] for report in reports] == ["a", "a"]


IMPORTED = """
import sys
from padfix.cli.main import main
{extra}
sys.argv = ["padfix", "audit", "x", "-qq", "--task", "training"]
try:
    main()
except SystemExit as leaving:
    assert leaving.code == 1, leaving.code
print(sorted(name for name in ("torch", "transformers", "tokenizers", "huggingface_hub", "padfix.hub.client", "numpy", "pydantic", "rich", "jinja2") if name in sys.modules))
"""


@pytest.mark.parametrize(("extra", "imported"), [("", "[]"), ("import rich", "['rich']")])
def test_an_audit_imports_nothing_heavy(tmp_path, checkpoint, extra, imported):
    """Neither torch nor transformers nor anything else slow is imported; the second case shows that the test sees it."""
    checkpoint(tmp_path / "x")
    code = IMPORTED.format(extra=extra)
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert shown.stdout.strip() == imported, shown.stderr


def test_version_and_help(padfix):
    """--version prints it; every command's --help ends in commands to try."""
    assert padfix("--version").stdout.startswith("padfix ")
    for command in ("audit", "fix", "check", "rule"):
        shown = padfix(command, "--help")
        assert shown.returncode == 0
        assert "Examples:\n  " in shown.stdout.replace("    ", "  ")
