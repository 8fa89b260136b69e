"""Imports point down only: cli -> api -> {rules, strategies, proof, ...} -> {read, write} -> types -> errors."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "padfix"

# lower number = lower layer; a module may import from its own layer and below
LAYERS = {
    "errors": 0, "types": 1, "traits": 2, "candidates": 3, "vetting": 3, "edits": 4, "projection": 4, "read": 4, "strategies": 5, "rules": 5, "write": 6,
    "render": 5, "proof": 7, "training": 7, "config": 5, "auditing": 8, "hub": 8, "api": 9, "testing": 10, "cli": 11, "__init__": 12, "__main__": 12,
}  # fmt: skip
# records print themselves: `Plan.project` and the `__str__` methods reach up, at call time
AT_CALL_TIME = {"types"}


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(tree: ast.AST) -> list[str]:
    found: list[str] = []
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:  # never runs
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("padfix"):
            found.append(node.module if node.module != "padfix" else f"padfix.{node.names[0].name}")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("padfix.")]
    return found


def violations(folder: Path) -> list[str]:
    bad = []
    for path in sorted(folder.rglob("*.py")):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own in AT_CALL_TIME or own == "__init__":
            continue
        for target in imports(ast.parse(path.read_text("utf-8"))):
            there = layer(target)
            if there != own and LAYERS[there] > LAYERS[own]:
                bad.append(f"{path.relative_to(folder)} imports {target}")
    return bad


def test_no_module_imports_a_higher_layer() -> None:
    """The layers of the design hold for every import, at the top of a module or inside a function."""
    assert violations(SOURCE) == []


def test_every_module_has_a_layer() -> None:
    """A new module must be placed before it can be imported."""
    names = {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in SOURCE.rglob("*.py")}
    assert names <= set(LAYERS)


def test_a_violation_is_seen(tmp_path: Path) -> None:
    """The check can fail: a rule that imports the command line is reported."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "bad.py").write_text("def f():\n    from padfix.cli import main\n", "utf-8")
    assert violations(tmp_path) == ["rules/bad.py imports padfix.cli"]
