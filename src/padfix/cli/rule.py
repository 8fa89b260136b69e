"""``padfix rule``: explain a rule, or find the rule that a warning or an error belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from padfix.cli import console
from padfix.cli.light import Command

if TYPE_CHECKING:
    from padfix.rules import Rule

_EPILOG = console.examples(
    "padfix rule",
    "padfix rule PAD101",
    'padfix rule "Setting `pad_token_id` to `eos_token_id`"',
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(cls=Command, epilog=_EPILOG)(console.command(rule))


def rule(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            help="A code, a name, the beginning of one, or the text of a warning or error; all rules without.",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[str, typer.Option("--format", "-f", metavar="NAME", help="text or json.")] = "text",
) -> None:
    """Explain a rule, or find the rule for a message that you saw.

    Exit code 0: found; 1: no rule matches the message; 2: there is no such rule.
    """
    from padfix.rules import RULES, resolve
    from padfix.rules.messages import find_rule

    console.choice("--format", format_, ("text", "json"))
    text = " ".join(query or ())
    if not text:
        chosen = tuple(RULES.values())
        console.out(_json(chosen) if format_ == "json" else "".join(map(_line, chosen)))
        return
    named = tuple(known for known in RULES.values() if known.name.startswith(text.lower()))
    if _is_code(text):
        chosen = tuple(RULES[code] for code in sorted(resolve(text.upper(), option="rule")))
    elif named:
        exact = tuple(known for known in named if known.name == text.lower())
        chosen = exact or named
    else:
        chosen = tuple(found for found, _ in find_rule(text))
    if not chosen:
        console.note("no rule knows this message; all rules: padfix rule")
        raise console.Exit(console.FOUND)
    if format_ == "json":
        console.out(_json(chosen))
        return
    listed = _is_code(text) or bool(named)
    console.out("".join(map(_line, chosen)) if listed and len(chosen) > 1 else _page(chosen[0]))
    if len(chosen) > 1 and not listed:
        console.out("\nAlso possible:\n" + "".join(f"  {_line(other)}" for other in chosen[1:]))


def _is_code(text: str) -> bool:
    """A code or the beginning of one: PAD1, pad101."""
    return text[:3].upper() == "PAD" and text[3:].isdigit() and len(text) <= 6


def _line(known: Rule) -> str:
    return f"{known.code}  {known.name:<38}  {known.summary}\n"


def _page(known: Rule) -> str:
    from padfix.rules import READS, TASKS
    from padfix.training.recipes import recipes_for

    severities = ", ".join(f"{task} {known.severity[task]}" for task in TASKS if known.severity[task])
    reads = "; ".join(READS[letter] for letter in known.reads)
    head = f"# {known.code} {known.name}\n\nSeverity: {severities or 'never reported, guards changes'}.\nReads: {reads}.\n\n"
    recipes = "".join(f"- {stack}: {text}\n" for stack, text in recipes_for(known.code))
    return f"{head}{known.documentation}\n" + (f"\n## In your training stack\n{recipes}" if recipes else "")


def _json(chosen: tuple[Rule, ...]) -> str:
    import json

    from padfix.training.recipes import recipes_for

    listed = [
        {
            "code": known.code,
            "name": known.name,
            "summary": known.summary,
            "reads": list(known.reads),
            "severity": {str(task): grade for task, grade in known.severity.items()},
            "documentation": known.documentation,
            "recipes": dict(recipes_for(known.code)),
        }
        for known in chosen
    ]
    return json.dumps({"schema": 1, "rules": listed}, indent=2) + "\n"
