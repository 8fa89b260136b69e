"""Write docs/rules.md from the rules themselves: their docstrings are the pages.

python scripts/generate_rule_docs.py            # write docs/rules.md
python scripts/generate_rule_docs.py --check    # exit 1 when it would change
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from padfix.rules import READS, RULES, TASKS, Rule
from padfix.training.recipes import recipes_for

TARGET = Path(__file__).resolve().parents[1] / "docs" / "rules.md"

FAMILIES = {
    "0": "which token is the pad",
    "1": "the vocabulary and the weights",
    "2": "agreement between files",
    "3": "running a model",
    "4": "training data and labels",
    "5": "architectures",
    "6": "adapters and deployment",
}

INTRO = """\
# Rules

<!-- Written by scripts/generate_rule_docs.py from the docstrings in src/padfix/rules. Do not edit. -->

Every finding of `padfix audit`, `padfix check` and `padfix.sanity_check` carries one of these codes. Codes are
never reused. `padfix rule PAD101` prints a page; `padfix rule "index out of range in self"` finds the rule that a
warning or an error belongs to.

How severe a finding is depends on what the checkpoint is used for: `--task generation`, `training`,
`classification` or `serving`. Without the option it follows the architecture: classification for classifiers, else
generation. A dash means that the rule stays silent; one with four dashes is a guard, which keeps padfix
itself from a harmful change.

"""


def table() -> str:
    """All rules at a glance."""
    reads = "; ".join(f"**{letter}** {what}" for letter, what in READS.items())
    head = f"What a rule reads: {reads}.\n\n| code | name | reads | {' | '.join(TASKS)} |\n|---|---|---|{'---|' * len(TASKS)}\n"
    rows = []
    for rule in RULES.values():
        grades = " | ".join(rule.severity[task] or "-" for task in TASKS)
        rows.append(f"| [{rule.code}](#{anchor(rule)}) | {rule.name} | {' '.join(rule.reads)} | {grades} |")
    return head + "\n".join(rows) + "\n"


def page(rule: Rule) -> str:
    """One rule: its docstring, and what to change in each training stack."""
    body = re.sub(r"^## ", "#### ", rule.documentation, flags=re.MULTILINE)
    recipes = recipes_for(rule.code)
    if recipes:
        lines = "\n".join(f"| {stack} | {cell(text)} |" for stack, text in recipes)
        body += f"\n\n#### In your training stack\n\n| stack | what to change |\n|---|---|\n{lines}"
    return f'<a id="{anchor(rule)}"></a>\n\n### {rule.code} {rule.name}\n\n{body}\n'


def cell(text: str) -> str:
    """A text as one table cell, in code where it is not prose."""
    return text.replace("|", "\\|").replace("\n", " ")


def anchor(rule: Rule) -> str:
    """The stable link target of a rule, which SARIF and messages point to."""
    return rule.code.lower()


def render() -> str:
    """The whole page."""
    parts = [INTRO, table()]
    family = ""
    for rule in RULES.values():
        if rule.code[3] != family:
            family = rule.code[3]
            parts.append(f"## {family}xx: {FAMILIES[family]}\n")
        parts.append(page(rule))
    return "\n".join(parts)


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = render()
    if check:
        same = TARGET.is_file() and TARGET.read_text("utf-8") == text
        print(
            "docs/rules.md is up to date"
            if same
            else "docs/rules.md would change: run scripts/generate_rule_docs.py"
        )
        return 0 if same else 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
