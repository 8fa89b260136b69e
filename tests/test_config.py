"""padfix's own configuration: found upwards, read strictly, every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from padfix.config import Config, find, load
from padfix.errors import ConfigError

GOOD = """
task = "training"
select = ["PAD0", "pad-id-out-of-range"]
fail-on = "warning"
[ignore]
PAD002 = "labels are masked by position"
[per-source."models/old-*"]
PAD001 = "kept as published"
"""


def test_every_key(tmp_path: Path) -> None:
    """A file that uses every key gives a Config that holds them, reasons included."""
    path = tmp_path / "padfix.toml"
    path.write_text(GOOD)
    assert load(path) == Config(
        path=path,
        task="training",
        select=("PAD0", "pad-id-out-of-range"),
        fail_on="warning",
        ignore=(("PAD002", "labels are masked by position"),),
        per_source=(("models/old-*", "PAD001", "kept as published"),),
    )
    assert load(path).ignored_here("models/old-gpt") == ("PAD001",)
    assert load(path).ignored_here("models/new-gpt") == ()


def test_pyproject_table(tmp_path: Path) -> None:
    """`[tool.padfix]` means the same as padfix.toml."""
    path = tmp_path / "pyproject.toml"
    table = GOOD.replace("[ignore]", "[tool.padfix.ignore]").replace("[per-source", "[tool.padfix.per-source")
    path.write_text(f"[project]\nname = 'x'\n[tool.padfix]\n{table}")
    assert load(path).task == "training"
    assert load(path).per_source == (("models/old-*", "PAD001", "kept as published"),)


def test_all_problems_at_once(tmp_path: Path) -> None:
    """One run names every wrong key, value, code and missing reason, each with what is right."""
    path = tmp_path / "padfix.toml"
    path.write_text(
        'taks = "training"\ntask = "train"\nfail_on = "error"\nselect = ["PAD001", "XYZ9"]\n'
        '[ignore]\nPAD002 = ""\nPAD9999 = "no such rule"\n[per-source]\n"a/*" = "PAD001"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    said = str(caught.value)
    assert "7 problems" in said
    for expected in (
        "taks: unknown key; did you mean 'task'?",
        "task: 'train' is not one of generation, training, classification, serving; did you mean 'training'?",
        "fail_on: unknown key; did you mean 'fail-on'?",
        "select: no rule matches 'XYZ9'",
        "ignore.PAD002: needs a reason, not ''",
        "ignore: no rule matches 'PAD9999'",
        'per-source."a/*": must map codes to reasons',
    ):
        assert expected in said


@pytest.mark.parametrize(
    "text", ["task =", "a = 1\na = 2", "\x00", "ignore = ['PAD001']", "select = 'PAD001'", "per-source = 3"]
)
def test_what_is_wrong_is_a_config_error(tmp_path: Path, text: str) -> None:
    """Neither bad TOML nor a wrong type escapes as another exception; the file is named."""
    path = tmp_path / "padfix.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"padfix\.toml"):
        load(path)


def test_latin_1_and_missing_files(tmp_path: Path) -> None:
    """A file in another encoding and a file that is not there are typed errors."""
    path = tmp_path / "padfix.toml"
    path.write_bytes(b'task = "\xe9"')
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "nope.toml")


def test_the_nearest_file_wins(tmp_path: Path) -> None:
    """Upwards from the working directory; a pyproject without our table is passed by, even a broken one."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "padfix.toml").write_text("")
    (tmp_path / "a" / "pyproject.toml").write_text("this is [not toml")
    assert find(inner) == tmp_path / "padfix.toml"
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.padfix]\n")
    assert find(inner) == tmp_path / "a" / "pyproject.toml"
    (inner / ".padfix.toml").write_text("")
    assert find(inner) == inner / ".padfix.toml"
