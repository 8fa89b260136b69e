"""The callback in real trainers: a bad set-up stops before step 1, a good one trains exactly as without it."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from training_setups import EOS, PAD, ByHand, chat, full_length, labelled, lm, text, without_labels, words
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

import padfix
from padfix import PadCheckCallback, PadfixError, positional_labels

ROOT = Path(__file__).resolve().parents[2]


class Steps(TrainerCallback):  # type: ignore[misc]
    """The loss of every step, bit for bit."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.begun = 0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.begun += 1

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in (logs or {}):
            self.losses.append(logs["loss"])


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.rows[i]


class Streamed(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        return iter(self.rows)


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    given = {
        "max_steps": 3,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
    }
    return TrainingArguments(str(folder), save_strategy="no", disable_tqdm=True, **{**given, **options})


def trained(folder: Path, tok: Any, data: Any, collator: Any, *callbacks: Any, **options: Any) -> Steps:
    """Losses of three steps from the same weights and the same seed; dropout draws from torch's generator."""
    model = copy.deepcopy(lm(tok, "gpt2", resid_pdrop=0.2, embd_pdrop=0.2))
    steps = Steps()
    trainer = Trainer(
        model,
        arguments(folder, **options),
        data_collator=collator,
        train_dataset=data,
        processing_class=tok,
        callbacks=[steps, *callbacks],
    )
    trainer.train()
    return steps


def test_bad_set_up_stops_before_step_one(tmp_path: Path) -> None:
    """pad = EOS with a collator that masks by id: the report is raised and no step begins."""
    tok = words(pad="</s>")
    steps = Steps()
    model = copy.deepcopy(lm(tok))
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(
        model,
        arguments(tmp_path),
        data_collator=DataCollatorForLanguageModeling(tok, mlm=False),
        train_dataset=Rows(text(3, 5, 7, 4)),
        processing_class=tok,
        callbacks=[steps, PadCheckCallback()],
    )
    with pytest.raises(PadfixError, match=r"PAD401[\s\S]*position 3: '</s>' \(2\)[\s\S]*positional_labels"):
        trainer.train()
    assert steps.begun == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_good_set_up_trains_bit_for_bit(tmp_path: Path, kind: str) -> None:
    """With and without the callback: the same losses, with shuffling and dropout, map-style or streamed."""
    tok = words(pad="</s>")
    rows = text(3, 5, 7, 4, 6, 2)
    make = Rows if kind == "map" else Streamed
    collator = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False))
    without = trained(tmp_path / "a", tok, make(rows), collator)
    callback = PadCheckCallback()
    watched = trained(tmp_path / "b", tok, make(rows), collator, callback)
    assert watched.losses == without.losses
    assert len(watched.losses) == 3
    assert callback.report is not None
    assert callback.report.ok


def test_good_set_up_trains_bit_for_bit_with_the_step_proof(tmp_path: Path) -> None:
    """The training-step proof leaves gradients, mode and random state alone as well."""
    tok = words()
    rows = text(3, 5, 7, 4, 6, 2)
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    without = trained(tmp_path / "a", tok, Rows(rows), collator)
    callback = PadCheckCallback(step=True)
    watched = trained(tmp_path / "b", tok, Rows(rows), collator, callback)
    assert watched.losses == without.losses
    assert callback.report is not None
    assert not [skip for skip in callback.report.skipped if skip.source == "step"]


def test_masked_lm_trains_bit_for_bit(tmp_path: Path) -> None:
    """A collator that draws random masks draws the same ones."""
    tok = words(mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]")
    collator = DataCollatorForLanguageModeling(tok)
    rows = text(9, 12, 20, 14)
    without = trained(tmp_path / "a", tok, Rows(rows), collator)
    watched = trained(tmp_path / "b", tok, Rows(rows), collator, PadCheckCallback(on_error="warn"))
    assert watched.losses == without.losses


def test_warn_trains_on(tmp_path: Path) -> None:
    """``on_error="warn"`` warns with the report, and every step runs."""
    tok = words(pad="</s>")
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    with pytest.warns(UserWarning, match="PAD401"):
        steps = trained(tmp_path, tok, Rows(text(3, 5)), collator, PadCheckCallback(on_error="warn"))
    assert steps.begun == 3


def test_notes_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no error goes to the ``padfix`` logger."""
    tok = words(pad="</s>")
    with caplog.at_level(logging.INFO, logger="padfix"):
        trained(tmp_path, tok, Rows(labelled(text(3, 5))), DataCollatorForSeq2Seq(tok), PadCheckCallback())
    assert "PAD002" in caplog.text


def test_pads_in_the_loss_stop_it(tmp_path: Path) -> None:
    """Labels copied after padding: PAD403."""
    tok = words()
    rows = full_length(text(3, 5), 12, PAD, labels="copy")
    with pytest.raises(PadfixError, match="PAD403"):
        trained(tmp_path, tok, Rows(rows), default_data_collator, PadCheckCallback())


def test_data_that_can_be_read_once_is_left_alone(tmp_path: Path) -> None:
    """A stream around a generator trains unchecked, on all of its rows, and the report says why."""

    class Once(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.rows = (row for row in text(3, 5, 7, 4, 6, 2))

        def __iter__(self) -> Any:
            return self.rows

    tok = words()
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    without = trained(tmp_path / "a", tok, Once(), collator)
    callback = PadCheckCallback()
    watched = trained(tmp_path / "b", tok, Once(), collator, callback)
    assert watched.losses == without.losses
    assert callback.report is not None
    assert any("only once" in skip.reason for skip in callback.report.skipped)


def test_without_a_tokenizer_it_says_what_to_do(tmp_path: Path) -> None:
    """No processing_class anywhere: the message names both ways to give one; given, it works."""
    tok = words()
    model = copy.deepcopy(lm(tok))
    rows = Rows(full_length(text(3, 5), 8, PAD, labels="position"))
    trainer = Trainer(model, arguments(tmp_path), train_dataset=rows, callbacks=[PadCheckCallback()])
    with pytest.raises(PadfixError, match=r"processing_class.*PadCheckCallback\(tok\)"):
        trainer.train()
    Trainer(model, arguments(tmp_path), train_dataset=rows, callbacks=[PadCheckCallback(tok)]).train()


def test_options_are_checked() -> None:
    """A misspelt option is refused at once, not after the data was loaded."""
    with pytest.raises(PadfixError, match="'raise' or 'warn'"):
        PadCheckCallback(on_error="stop")  # type: ignore[arg-type]
    assert padfix.PadCheckCallback is PadCheckCallback


def test_every_rank_stops(tmp_path: Path) -> None:
    """Two processes under torchrun (gloo): rank 0 reports, both stop; a good set-up then trains on both."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *(
            str(ROOT / "examples" / "torchrun_check.py"),
            "--pad",
            "eos",
            "distinct",
            "--output",
            str(tmp_path),
        ),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said[-3000:]
    assert "rank 0, pad eos: stopped before step 1: PAD002 PAD401" in said, said[-3000:]
    assert "rank 1, pad eos: stopped before step 1: rank 0 stopped the run" in said, said[-3000:]
    assert "rank 0, pad distinct: trained 2 steps" in said, said[-3000:]
    assert "rank 1, pad distinct: trained 2 steps" in said, said[-3000:]


# --- TRL -------------------------------------------------------------------------------------------


def trl_arguments(kind: Any, folder: Path, **options: Any) -> Any:
    given = {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
    }
    return kind(str(folder), save_strategy="no", disable_tqdm=True, bf16=False, **{**given, **options})


def preference(*lengths: int, end: str = "</s>") -> list[dict[str, str]]:
    return [
        {"prompt": "w1 w2", "chosen": " ".join(["w3"] * n) + f" {end}", "rejected": f" w4 w5 {end}"}
        for n in lengths
    ]


@pytest.fixture
def trl() -> Any:
    return pytest.importorskip("trl", reason="TRL is not installed here")


def sft(
    trl: Any, folder: Path, tok: Any, rows: Any, *callbacks: Any, collator: Any = None, **options: Any
) -> Steps:
    import datasets

    steps = Steps()
    trainer = trl.SFTTrainer(
        copy.deepcopy(lm(tok)),
        trl_arguments(trl.SFTConfig, folder, **options),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tok,
        data_collator=collator,
        callbacks=[steps, *callbacks],
    )
    trainer.train()
    return steps


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "options", [{}, {"packing": True, "max_length": 16}, {"padding_free": True, "max_length": None}]
)
def test_sft_trains_bit_for_bit(trl: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    """SFTTrainer's own collator is right with pad = EOS: padded, packed and padding-free."""
    tok = words(pad="</s>")
    rows = [
        {"text": "w1 w2 w3 </s>"},
        {"text": "w4 </s>"},
        {"text": "w5 w6 w7 w8 w9 </s>"},
        {"text": "w1 w2 </s>"},
    ]
    without = sft(trl, tmp_path / "a", tok, rows, **options)
    callback = PadCheckCallback()
    watched = sft(trl, tmp_path / "b", tok, rows, callback, **options)
    assert watched.losses == without.losses
    assert watched.begun == 2
    assert callback.report is not None
    assert [f for f in callback.report.findings if f.severity != "info"] == []
    assert not [s for s in callback.report.skipped if s.source in ("batch", "data")]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_sft_with_a_collator_that_masks_by_id_stops(trl: Any, tmp_path: Path) -> None:
    """SFTTrainer with a collator of the user's own and pad = EOS: stopped before step 1."""
    tok = words(pad="</s>")
    rows = without_labels(chat(end=EOS))
    with pytest.raises(PadfixError, match="PAD401"):
        sft(trl, tmp_path, tok, rows, PadCheckCallback(), collator=ByHand(tok))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_dpo_and_reward_run_with_the_callback(trl: Any, tmp_path: Path) -> None:
    """DPOTrainer and RewardTrainer: their preference batches are read, and nothing is flagged."""
    import datasets
    from training_setups import fitted

    tok = words()
    rows = datasets.Dataset.from_list(preference(2, 3, 4, 5))
    callback = PadCheckCallback()
    trl.DPOTrainer(
        copy.deepcopy(lm(tok)),
        ref_model=copy.deepcopy(lm(tok)),
        args=trl_arguments(trl.DPOConfig, tmp_path / "dpo"),
        train_dataset=rows,
        processing_class=tok,
        callbacks=[callback],
    ).train()
    assert callback.report is not None
    assert [f for f in callback.report.findings if f.severity != "info"] == []
    assert not [s for s in callback.report.skipped if s.source in ("batch", "labels", "data")]

    callback = PadCheckCallback()
    model = copy.deepcopy(fitted(tok, "llama", "classifier", num_labels=1))
    trl.RewardTrainer(
        model,
        args=trl_arguments(trl.RewardConfig, tmp_path / "reward"),
        train_dataset=rows,
        processing_class=tok,
        callbacks=[callback],
    ).train()
    assert callback.report is not None
    assert [f for f in callback.report.findings if f.severity != "info"] == []


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_reward_with_eos_pad_stops(trl: Any, tmp_path: Path) -> None:
    """A reward model that pools at the last token that is not the pad, with pad = EOS: PAD308."""
    import datasets
    from training_setups import fitted

    tok = words(pad="</s>")
    trainer = trl.RewardTrainer(
        copy.deepcopy(fitted(tok, "llama", "classifier", num_labels=1)),
        args=trl_arguments(trl.RewardConfig, tmp_path),
        train_dataset=datasets.Dataset.from_list(preference(2, 3)),
        processing_class=tok,
        callbacks=[PadCheckCallback()],
    )
    with pytest.raises(PadfixError, match="PAD308"):
        trainer.train()
