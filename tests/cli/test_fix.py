"""``padfix fix`` and ``padfix rule`` as a user runs them."""

from __future__ import annotations

import json

import pytest


def test_fix_shows_the_diff_and_writes(tmp_path, checkpoint, padfix):
    """The diff is data on stdout, the story is on stderr, and the folder has the pad."""
    checkpoint(tmp_path / "x")
    shown = padfix("fix", "x", "--strategy", "eos")
    assert shown.returncode == 0, shown.stderr
    assert '+  "pad_token": "</s>"' in shown.stdout
    assert "--- a/tokenizer_config.json\n+++ b/tokenizer_config.json\n@@ " in shown.stdout
    assert "the pad will be '</s>' (2)" in shown.stderr
    assert "wrote: " in shown.stderr
    assert json.loads((tmp_path / "x/tokenizer_config.json").read_text())["pad_token"] == "</s>"
    again = padfix("fix", "x", "--strategy", "eos")
    assert (again.returncode, again.stdout) == (0, "")


def test_the_diff_applies(tmp_path, checkpoint, padfix):
    """What a dry run prints is a patch that `patch` turns into the very same files."""
    import shutil
    import subprocess

    if shutil.which("patch") is None:
        pytest.skip("needs the program patch")
    for name in ("x", "y"):
        folder = checkpoint(tmp_path / name)
        (folder / "tokenizer_config.json").write_text(
            (folder / "tokenizer_config.json").read_text().rstrip("\n")
        )
    diff = padfix("fix", "x", "--strategy", "spare", "--dry-run").stdout
    padfix("fix", "x", "--strategy", "spare")
    subprocess.run(
        ["patch", "-p1"], input=diff, text=True, cwd=tmp_path / "y", check=True, capture_output=True
    )
    for path in (tmp_path / "x").iterdir():
        assert (tmp_path / "y" / path.name).read_bytes() == path.read_bytes()


def test_dry_run_copy_and_refusal(tmp_path, checkpoint, padfix):
    """--dry-run writes nothing; -o leaves the source alone; a repair that needs rows is exit code 2 with the reason."""
    folder = checkpoint(tmp_path / "x", vocab_size=11)
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "nothing written" in padfix("fix", "x", "--strategy", "eos", "-n").stderr
    assert padfix("fix", "x", "--strategy", "eos", "-o", "y").returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == old
    assert json.loads((tmp_path / "y/tokenizer_config.json").read_text())["pad_token"] == "</s>"
    refused = padfix("fix", "x", "--strategy", "add")
    assert refused.returncode == 2
    assert "new embedding rows" in refused.stderr
    wrong = padfix("fix", "x", "--strategy", "eso")
    assert wrong.returncode == 2
    assert "eso" in wrong.stderr
    assert "Traceback" not in wrong.stderr + refused.stderr
    assert padfix("fix", "nope").returncode == 2


def test_colours_of_the_diff(tmp_path, checkpoint, padfix):
    """Only where they are wanted, and a hostile value cannot bring its own."""
    checkpoint(tmp_path / "x", note="\x1b[31m\u202e")
    plain = padfix("fix", "x", "--strategy", "eos", "-n")
    assert "\x1b" not in plain.stdout + plain.stderr
    assert "\x1b[32m+" in padfix("fix", "x", "--strategy", "eos", "-n", "--color", "always").stdout


def test_rule_explains_and_finds(padfix):
    """A code, a name, a prefix, a message of transformers; JSON holds every rule; nonsense is exit code 1."""
    page = padfix("rule", "pad101").stdout
    assert page.startswith("# PAD101 pad-id-out-of-range\n")
    assert "## How to fix" in page
    assert padfix("rule", "pad-id-out-of-range").stdout == page
    assert "PAD101" in padfix("rule", "index out of range in self").stdout
    assert (
        "PAD001"
        in padfix("rule", "ValueError: Asking to pad but the tokenizer does not have a padding token").stdout
    )
    assert padfix("rule", "PAD1").stdout.count("PAD10") > 3
    assert padfix("rule", "pad-equals").stdout.splitlines()[0].startswith("PAD002  pad-equals-eos ")
    assert padfix("rule", "Missing-pad").stdout.startswith("# PAD001 ")
    rules = json.loads(padfix("rule", "-f", "json").stdout)["rules"]
    assert len(rules) == len(padfix("rule").stdout.splitlines()) > 30
    assert all("## Example" in rule["documentation"] for rule in rules)
    assert "\n## In your training stack\n- transformers Trainer: " in padfix("rule", "PAD401").stdout
    assert "training stack" not in page
    assert "TRL" in next(rule for rule in rules if rule["code"] == "PAD401")["recipes"]
    assert padfix("rule", "PAD999").returncode == 2
    assert padfix("rule", "the weather is nice today").returncode == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Setting `pad_token_id` to `eos_token_id`", "PAD301"),
        ("Cannot handle batch sizes > 1", "PAD203"),
        ("The attention mask is not set", "PAD301"),
        ("index out of range in self", "PAD101"),
        ("size mismatch for embed_tokens", "PAD601"),
        ("size mismatch for lm_head.weight: copying a param with shape torch.Size([32001, 4096])", "PAD601"),
    ],
)
def test_a_message_of_transformers_finds_its_page(padfix, message, code):
    """As one argument, and as the words that a shell makes of it without quotes."""
    assert padfix("rule", message).stdout.startswith(f"# {code} ")
    assert padfix("rule", *message.split()).stdout.startswith(f"# {code} ")
