"""The check with every real tokenizer of the corpus: no crash, no false alarm, the famous mistake found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

from padfix.training import sanity_check

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")]


def test_right_and_wrong(corpus: Path, corpus_name: str) -> None:
    """Labels by position are right with any pad; labels by id lose the EOS exactly where the pad is one."""
    try:
        tok = AutoTokenizer.from_pretrained(corpus / corpus_name, trust_remote_code=False)
    except (AttributeError, TypeError, ValueError) as error:  # three of them load under transformers 5 only
        pytest.skip(f"transformers cannot load it here: {type(error).__name__}")
    if tok.eos_token_id is None:
        pytest.skip("this tokenizer has no EOS")
    if tok.pad_token_id is None:
        tok.pad_token = tok.eos_token
    rows: list[dict[str, Any]] = []
    for text in ("The quick brown fox jumps over the lazy dog.", "Hello", "def f(x): return x + 1  # naïve"):
        ids = tok(text, add_special_tokens=False)["input_ids"]
        ids = ids if tok.pad_token_id == tok.eos_token_id else [i for i in ids if i != tok.pad_token_id]
        ids.append(tok.eos_token_id)
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": list(ids)})
    plain = [{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows]

    report = sanity_check(None, tok, data=rows, collator=DataCollatorForSeq2Seq(tok), task="training")
    assert not [f for f in report.findings if f.code.startswith("PAD4")], str(report)
    assert not [skip for skip in report.skipped if skip.source != "padding"], report.skipped
    by_id = DataCollatorForLanguageModeling(tok, mlm=False)
    report = sanity_check(None, tok, data=plain, collator=by_id, task="training")
    assert ("PAD401" in {f.code for f in report.findings}) == (tok.pad_token_id == tok.eos_token_id), str(
        report
    )
