"""``padfix check``: load a local checkpoint, run the rules for live objects, and prove its padding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from padfix.cli import console
from padfix.cli.light import Command
from padfix.errors import MissingDependencyError, SourceError

if TYPE_CHECKING:
    from padfix.types import Finding, Report, Verdict

_EPILOG = console.examples(
    "padfix check ./checkpoint",
    "padfix check ./checkpoint --task training --attention heat.svg",
    "padfix check ./checkpoint -f json",
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(cls=Command, epilog=_EPILOG)(console.command(check))


def check(
    model: Annotated[
        Path, typer.Argument(help="A local checkpoint's folder, with weights.", show_default=False)
    ],
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="generation, training, classification or serving. [default: by architecture]",
            show_default=False,
        ),
    ] = None,
    attention: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also check that masked keys get no attention, and draw it: .svg or .png.",
            show_default=False,
        ),
    ] = None,
    generate: Annotated[
        bool,
        typer.Option("--generate", help="Also compare a batch's greedy generation with each prompt alone."),
    ] = False,
    dtype: Annotated[
        str,
        typer.Option(metavar="NAME", help="float32, bfloat16, float16, or auto for the checkpoint's own."),
    ] = "float32",
    format_: Annotated[str, typer.Option("--format", "-f", metavar="NAME", help="text or json.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary.")] = False,
    color: Annotated[str, typer.Option("--color", metavar="WHEN", help="auto, always or never.")] = "auto",
) -> None:
    """Prove that padding a checkpoint's batches leaves its outputs alone.

    Loads the model (never with code from the repository) and runs a few forward passes; needs torch.

    Exit code 0: proven; 1: an error was found or a gating check failed; 2: could not run; 130: interrupted.
    """
    import sys

    from padfix.read.live import inspect
    from padfix.render import text
    from padfix.render.plain import count_text, verdict_summary, verdict_text
    from padfix.rules import TASKS, check_verdict, in_order
    from padfix.rules import check as run_rules
    from padfix.types import Report

    console.choice("--task", task, TASKS)
    console.choice("--format", format_, ("text", "json"))
    console.choice("--dtype", dtype, ("float32", "bfloat16", "float16", "auto"))
    if attention is not None and attention.suffix.lower() not in (".svg", ".png"):
        console.fail(f"--attention {attention}: name a file that ends in .svg or .png")
    loaded, tok = _load(model, dtype)
    state = inspect(loaded, tok)
    from_files = _of_files(model, task)
    known = {finding.code for finding in from_files}
    findings = (*from_files, *(f for f in run_rules(state, task=task) if f.code not in known))
    verdict = None
    if state.pad is not None:
        from padfix.proof import prove

        verdict = prove(loaded, tok, attention=attention is not None, generate=generate)
        findings = (*findings, *check_verdict(state, verdict, task=task))
        if attention is not None:
            verdict.plot(str(attention))
    report = Report(str(model), state, in_order(findings))
    if format_ == "json":
        console.out(_json(report, verdict))
    else:
        console.out(
            text.one(report, colour=console.coloured(sys.stdout, console.colour_choice(color)), clean=True)
        )
        if verdict is not None:
            console.out(verdict_text(verdict) + "\n")
    failed = verdict is None or not verdict
    if not quiet:
        proof = "not run, since there is no pad" if verdict is None else verdict_summary(verdict)
        console.note(f"checked 1 model: {count_text(findings)}; proof {proof}")
    raise console.Exit(console.FOUND if failed or not report.ok else console.CLEAN)


def _of_files(folder: Path, task: str | None) -> tuple[Finding, ...]:
    """What an audit finds: it knows the file, the line, and the command that repairs it."""
    from padfix.auditing import audit

    try:
        return audit(folder, task=task).findings
    except SourceError:  # a tokenizer that only transformers itself can tell
        return ()


def _load(folder: Path, dtype: str) -> tuple[Any, Any]:
    """The model, by the class that its config names, and its tokenizer. No code of the repository runs."""
    if not folder.is_dir():
        raise SourceError(
            f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; a check needs a checkpoint's folder"
        )
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "padfix check needs torch; install it with: pip install 'padfix[torch]'"
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    safe_only = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **safe_only)
        names = [name for name in config.architectures or () if hasattr(transformers, name)]
        cls = getattr(transformers, names[0]) if names else transformers.AutoModelForCausalLM
        wanted = "auto" if dtype == "auto" else getattr(torch, dtype)
        options = {"dtype": wanted, "local_files_only": True}
        model = cls.from_pretrained(folder, **options).eval()
        tok = transformers.AutoTokenizer.from_pretrained(folder, **safe_only)
    except (
        Exception
    ) as error:  # every library below has its own; whatever it is, it is the answer, named and chained
        raise SourceError(
            f"{folder}: transformers cannot load it: {type(error).__name__}: {error}"
        ) from error
    return model, tok


def _json(report: Report, verdict: Verdict | None) -> str:
    import json

    from padfix.render.json import SCHEMA, as_dict

    document = {
        "schema": SCHEMA,
        "report": as_dict(report),
        "verdict": None if verdict is None else verdict.to_dict(),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
