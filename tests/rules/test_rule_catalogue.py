"""Every rule fires on a state that has the mistake, and not on the nearest one that has not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from padfix.rules import RULES, check, check_pair, check_verdict
from padfix.types import (
    ABSENT,
    BackendPadding,
    BadValue,
    Candidate,
    Check,
    Finding,
    Location,
    PadRow,
    PadState,
    Token,
    Verdict,
)

PAD, EOS, UNK, BOS = Token("<pad>", 5), Token("</s>", 2), Token("<unk>", 0), Token("<s>", 1)
GOOD = PadState(
    source="./llama",
    has_model=True,
    tokenizer_class="LlamaTokenizer",
    pad=PAD,
    eos=EOS,
    unk=UNK,
    bos=BOS,
    unk_emitted=False,
    n_tokens=32000,
    max_id=31999,
    next_id=32000,
    padding_side="left",
    appends_eos=False,
    pad_uses=(),
    config_pad_id=5,
    generation_pad_id=5,
    has_generation_config=True,
    config_eos_ids=(2,),
    generation_eos_ids=(2,),
    vocab_size=32064,
    model_type="llama",
    head="causal",
    traits=("padding-idx-from-config", "pools-on-pad"),
    input_rows=32064,
    output_rows=32064,
    tied=False,
)
BERT = replace(
    GOOD,
    eos=None,
    bos=None,
    pad=Token("[PAD]", 0),
    unk=Token("[UNK]", 100),
    unk_emitted=True,
    config_pad_id=0,
    generation_pad_id=ABSENT,
    config_eos_ids=(),
    generation_eos_ids=(),
    padding_side="right",
    specials=(("cls", Token("[CLS]", 101)), ("sep", Token("[SEP]", 102)), ("mask", Token("[MASK]", 103))),
    model_type="bert",
    head="classifier",
    traits=("padding-idx-from-config",),
)
LIVE = replace(GOOD, live=True, padding_idx=5, pad_row=PadRow(1.0, 1.0, zero=False, finite=True))


def verdict(name: str, **facts: Any) -> Verdict:
    return Verdict((Check(**{"name": name, "passed": False, "gating": True, "cause": "a cause", **facts}),))


@dataclass(frozen=True)
class Case:
    """``bad`` must show the code with these words and this severity; ``good`` must not show it."""

    code: str
    bad: PadState
    good: PadState
    words: str
    severity: str = "error"
    task: str = "training"
    verdict: tuple[Verdict, Verdict] | None = None
    base: PadState | None = None
    draft: PadState | None = None

    def findings(self, which: str) -> tuple[Finding, ...]:
        state = self.bad if which == "bad" else self.good
        if self.verdict is not None:
            return check_verdict(state, self.verdict[which == "good"], task=self.task, select=self.code)
        if self.base is not None or self.draft is not None:
            return check_pair(state, self.base, draft=self.draft, task=self.task, select=self.code)
        return check(state, task=self.task, select=self.code)


PASSED = Verdict((Check("pad-unlikely", True, True), Check("round-trip", True, True)))
NAN = float("nan")

CASES = [
    Case("PAD001", replace(GOOD, pad=None), GOOD, "the tokenizer (32000 tokens) has no pad token"),
    Case("PAD001", replace(GOOD, pad=None), GOOD, "no pad token", "warning", "generation"),
    Case("PAD001", replace(GOOD, pad=None), replace(GOOD, pad=None, n_tokens=None, tokenizer_class=None), "32064 embedding rows", "info", "serving"),
    Case("PAD001", replace(GOOD, pad=None, quantized="gguf"), replace(GOOD, quantized="gguf"), "no pad token", "info"),
    Case("PAD002", replace(GOOD, pad=EOS), GOOD, "pad and EOS are both '</s>' (2)", "warning"),
    Case("PAD002", replace(GOOD, pad=EOS, appends_eos=True), GOOD, "every text ends in EOS", "error", "classification"),
    Case("PAD002", replace(GOOD, pad=EOS, traits=("pools-on-eos",)), GOOD, "the head pools by EOS", "error", "classification"),
    Case("PAD002", replace(GOOD, pad=EOS), replace(GOOD, pad=EOS, traits=("pad-is-semantic",)), "both", "info", "generation"),
    Case("PAD003", replace(GOOD, generation_eos_ids=(2, 5)), GOOD, "among the 2 ids that end generation ([2, 5])", "info"),
    Case("PAD004", replace(BERT, pad=BERT.unk), BERT, "text can produce it", "warning"),
    Case("PAD004", replace(GOOD, pad=UNK, unk_emitted=None), GOOD, "is not known", "warning", "classification"),
    Case("PAD004", replace(GOOD, pad=UNK), GOOD, "text cannot produce it", "info"),
    Case("PAD005", replace(BERT, pad=Token("[SEP]", 102)), BERT, "it is SEP"),
    Case("PAD005", replace(GOOD, pad=BOS, pad_uses=("post-processor",)), GOOD, "it is BOS and the post processor writes it"),
    Case("PAD005", replace(GOOD, pad_uses=("chat-template",)), GOOD, "the chat template writes it", "warning", "serving"),
    Case("PAD005", replace(GOOD, pad=BOS, pad_uses=None), replace(GOOD, pad=EOS), "is not known", "warning"),
    Case("PAD005", replace(GOOD, pad=BOS), replace(GOOD, pad=BOS, generation_eos_ids=(1, 2)), "nothing writes it", "info"),
    Case("PAD006", replace(GOOD, pad=Token("<unk>", 12824), pad_uses=("text",)), GOOD, "'<unk>' (12824) of 32000 is an ordinary"),
    Case("PAD006", replace(GOOD, pad=Token("!", 0), pad_uses=None), replace(GOOD, pad_uses=None), "'!' (0)", "warning", "generation"),
    Case("PAD006", replace(GOOD, pad=Token("<unk>", 12824), pad_uses=None), replace(GOOD, pad=Token("<unk>", 999), pad_uses=None),
         "lies among the ordinary tokens", "warning"),
    Case("PAD006", replace(GOOD, pad=Token("<pad>", 12824), pad_uses=None), replace(GOOD, pad=Token("<pad>", 12824), pad_uses=()),
         "lies among the ordinary tokens", "warning", "generation"),
    Case("PAD005", replace(GOOD, pad_uses=None, candidates=(Candidate(PAD, "config", (), ("the chat template uses it",)),)), GOOD,
         "the chat template writes it"),
    Case("PAD007", replace(GOOD, pad=Token("<|vision_pad|>", 5)), GOOD, "named for another modality", "info"),
    Case("PAD007", replace(GOOD, config_token_ids=(("image_token_id", 5),)),
         replace(GOOD, config_token_ids=(("image_token_id", 6), ("decoder_start_token_id", 5), ("audio_pad_token_id", 5))), "placeholder"),
    Case("PAD008", replace(GOOD, pad=Token("[PAD]", None)), GOOD, "'[PAD]' is not among the 32000 tokens"),
    Case("PAD009", replace(LIVE, pad=None, pad_settable=False), LIVE, "LlamaTokenizer has no usable pad and lets none be set"),
    Case("PAD009", replace(LIVE, pad_settable=False), LIVE, "lets no other be set", "info"),
    Case("PAD010", LIVE, LIVE, "a cause", verdict=(verdict("round-trip"), PASSED)),
    Case("PAD011", replace(GOOD, backend_padding=BackendPadding(0, "[PAD]", "Left")),
         replace(GOOD, backend_padding=BackendPadding(5, "<pad>", "Left", 128)), "tokenizer.json pads with '[PAD]' (0)", "error", "serving"),
    Case("PAD011", replace(GOOD, backend_padding=BackendPadding(5, "<pad>", "Right")), GOOD, "on the 'right' side", "warning", "serving"),
    Case("PAD011", replace(GOOD, pad=None, backend_padding=BackendPadding(0, "[PAD]", "Left")), GOOD, "has no pad", "warning"),
    Case("PAD012", replace(GOOD, pad_by_major=(("4", None), ("5", "<pad>"))), replace(GOOD, pad_by_major=(("4", "<pad>"), ("5", "<pad>"))),
         "none in transformers 4, '<pad>' in transformers 5", "info"),
    Case("PAD101", replace(GOOD, pad=Token("[PAD]", 32064)), replace(GOOD, pad=Token("[PAD]", 32063)),
         "pad_token_id 32064 is not below the 32064 rows of the input matrix"),
    Case("PAD101", replace(GOOD, config_pad_id=99999, input_rows=None), replace(GOOD, config_pad_id=99999, input_rows=None, vocab_size=None),
         "config pad_token_id 99999 is not below the 32064 rows of the config's vocab_size"),
    Case("PAD101", replace(GOOD, generation_pad_id=40000), GOOD, "generation config pad_token_id 40000"),
    Case("PAD101", replace(GOOD, pad=None, config_pad_id=None, generation_pad_id=ABSENT, generation_eos_ids=(), config_eos_ids=(50256,)),
         replace(GOOD, config_eos_ids=(50256,), generation_eos_ids=()), "generate() pads with it", "error", "generation"),
    Case("PAD101", replace(GOOD, config_pad_id=99999, text_config_pad_ids=(("text_config", None),)),
         replace(GOOD, config_pad_id=99999, text_config_pad_ids=(("text_config", 5),)), "99999", "warning"),
    Case("PAD102", replace(GOOD, config_pad_id=-1), GOOD, "config pad_token_id is -1: as padding_idx it means row 32063"),
    Case("PAD102", replace(GOOD, generation_pad_id=-1), GOOD, "generation config pad_token_id is -1", "warning", "generation"),
    Case("PAD103", replace(GOOD, max_id=32065), GOOD, "the highest id is 32065: 2 more than the 32064 rows", "warning"),
    Case("PAD103", replace(GOOD, max_id=32065, eos=Token("</s>", 32065)), GOOD, "EOS '</s>' (32065) not below the 32064 rows"),
    Case("PAD103", replace(GOOD, max_id=32065), replace(GOOD, max_id=32064, pad=Token("[PAD]", 32064)), "highest id", "warning"),
    Case("PAD105", replace(GOOD, input_rows=32000), GOOD, "the input matrix has 32000 rows, the base has 32064", base=GOOD),
    Case("PAD106", replace(GOOD, output_rows=32000), GOOD, "the input matrix has 32064 rows, the output matrix 32000"),
    Case("PAD106", replace(GOOD, output_rows=32000), replace(GOOD, output_rows=32000, traits=("unequal-rows",)), "32000"),
    Case("PAD106", replace(GOOD, output_bias_rows=32000), replace(GOOD, output_bias_rows=32064), "its bias 32000"),
    Case("PAD106", replace(GOOD, vocab_size=32000), replace(GOOD, vocab_size=32000, quantized="awq"), "config vocab_size is 32000"),
    Case("PAD106", replace(GOOD, output_rows=32000, model_type=None), replace(GOOD, output_rows=9, is_encoder_decoder=True), "32000", "warning"),
    Case("PAD107", GOOD, GOOD, "a cause (0.999 probability, limit 3.1e-05)",
         verdict=(verdict("pad-unlikely", observed=0.999, limit=3.1e-5, unit="probability"), PASSED)),
    Case("PAD108", replace(LIVE, pad_row=PadRow(NAN, 1.0, zero=False, finite=False)), LIVE, "is not finite"),
    Case("PAD108", replace(LIVE, pad_row=PadRow(50.0, 1.0, zero=False, finite=True)), LIVE, "norm 50, the median row 1", "warning"),
    Case("PAD108", replace(LIVE, pad_row=PadRow(0.0, 1.0, zero=True, finite=True), tied=True, padding_idx=None),
         replace(LIVE, pad_row=PadRow(0.0, 1.0, zero=True, finite=True)), "its logit is 0 in every context", "warning"),
    Case("PAD108", replace(LIVE, pad_row=PadRow(1.0, 1.0, False, True, duplicate_of=2), tied=True),
         replace(LIVE, pad_row=PadRow(1.0, 1.0, False, True, duplicate_of=31000), tied=True), "a copy of EOS row 2", "warning"),
    Case("PAD109", replace(GOOD, input_rows=32001), GOOD, "32001 rows are divisible by 1 only; the next multiple of 64 is 32064", "info"),
    Case("PAD109", replace(GOOD, input_rows=32001), replace(BERT, input_rows=30522), "32001", "info", "serving"),
    Case("PAD110", replace(GOOD, pad=EOS, config_pad_id=2), GOOD, "pad_token_id, which becomes padding_idx, is 2 (EOS)", "warning"),
    Case("PAD110", replace(LIVE, padding_idx=2), LIVE, "padding_idx is 2 (EOS): that input row gets no gradient", "warning"),
    Case("PAD110", replace(GOOD, pad=EOS, config_pad_id=2), replace(GOOD, pad=EOS, config_pad_id=2, traits=()), "2 (EOS)", "warning"),
    Case("PAD110", replace(GOOD, pad=UNK, config_pad_id=0, unk_emitted=True), replace(GOOD, pad=UNK, config_pad_id=0), "0 (unk)", "warning"),
    Case("PAD111", GOOD, GOOD, "a cause", verdict=(verdict("weights-kept"), PASSED)),
    Case("PAD111", GOOD, replace(GOOD, tied=True), "this checkpoint has two", "warning", base=replace(GOOD, tied=True)),
    Case("PAD201", replace(GOOD, config_pad_id=0), GOOD, "the tokenizer pads with '<pad>' (5), the model's config has pad_token_id 0", "warning"),
    Case("PAD201", replace(GOOD, config_pad_id=0), GOOD, "pad_token_id 0", "error", "classification"),
    Case("PAD201", replace(GOOD, eos=Token("<|endoftext|>", 11)), replace(GOOD, eos=Token("<|endoftext|>", 11), config_eos_ids=(11,)),
         "the tokenizer's EOS is '<|endoftext|>' (11), generation stops at [2] only", "warning"),
    Case("PAD201", replace(GOOD, config_pad_id=0), replace(GOOD, config_pad_id=9, text_config_pad_ids=(("text_config", 5),)), "0", "warning"),
    Case("PAD202", replace(GOOD, generation_pad_id=0), GOOD, "the generation config pads with 0, the tokenizer with '<pad>' (5)", "info"),
    Case("PAD202", replace(GOOD, pad=None, generation_pad_id=0), replace(GOOD, pad=None, config_pad_id=None), "the config with 5", "warning", "serving"),
    Case("PAD203", replace(GOOD, config_pad_id=None), GOOD, "the config sets no pad_token_id", "error", "classification"),
    Case("PAD203", replace(GOOD, config_pad_id=ABSENT), replace(GOOD, config_pad_id=ABSENT, model_type=None), "the config sets no pad_token_id", "info"),
    Case("PAD203", replace(GOOD, config_pad_id=5, text_config_pad_ids=(("text_config", None),)), GOOD, "config 'text_config' sets no pad_token_id", "info"),
    Case("PAD203", replace(BERT, config_pad_id=None), BERT, "sets no", "info", "classification"),
    Case("PAD204", replace(GOOD, config_pad_id=BadValue("list", "[2, 3]")), GOOD, "the config's pad_token_id is the list [2, 3]"),
    Case("PAD204", replace(GOOD, generation_pad_id=BadValue("str", "'0'")), GOOD, "the generation config's pad_token_id is the str", "error", "serving"),
    Case("PAD205", replace(GOOD, text_config_pad_ids=(("text_config", None),)), replace(GOOD, text_config_pad_ids=(("text_config", 5),)),
         "the config's pad_token_id 5 is not in 'text_config'", "error", "classification"),
    Case("PAD205", replace(GOOD, text_config_pad_ids=(("text_config", 7),)), GOOD, "'text_config' says 7, which is the one that counts", "info"),
    Case("PAD301", replace(GOOD, pad=EOS), GOOD, "so generate() infers no mask", "info", "generation"),
    Case("PAD301", replace(GOOD, pad=None, config_pad_id=None, generation_pad_id=None), replace(GOOD, pad=None), "pads with EOS", "info", "generation"),
    Case("PAD302", replace(GOOD, pad=UNK, unk_emitted=True), replace(GOOD, pad=UNK), "comes from any unknown word too", "warning", "generation"),
    Case("PAD303", replace(GOOD, padding_side="right", live=True), GOOD, "pads on the right", "warning", "generation"),
    Case("PAD303", replace(GOOD, padding_side="right"), replace(GOOD, padding_side="right", pad=None), "pads on the right", "info", "generation"),
    Case("PAD303", replace(GOOD, padding_side="right", locations=(("padding_side", Location("tokenizer_config.json", "padding_side", 7)),)),
         replace(GOOD, padding_side="right", head="seq2seq"), "pads on the right", "warning", "generation"),
    Case("PAD303", GOOD, replace(GOOD, padding_side="right"), "pads on the left", "info", "training"),
    Case("PAD303", replace(BERT, padding_side="left"), BERT, "pools or counts positions", "warning", "classification"),
    Case("PAD304", replace(GOOD, traits=("absolute-positions",), model_type="gpt2"), replace(GOOD, traits=("absolute-positions",), padding_side="right"),
         "gpt2 has absolute positions", "warning", "classification"),
    Case("PAD304", GOOD, GOOD, "left-padded rows differ from the texts alone by 0.5 std", "warning", "classification",
         verdict=(verdict("padding-left-bare", gating=False, observed=0.5, unit="std"), PASSED)),
    Case("PAD305", replace(LIVE, dtype="float16", device="cuda:0"), LIVE, "padding-left: padded rows are not finite ('float16, cuda:0')",
         verdict=(verdict("padding-left", observed=NAN), verdict("padding-left", observed=0.5))),
    Case("PAD308", replace(GOOD, pad=EOS, config_pad_id=2, appends_eos=True), replace(GOOD, config_pad_id=2, appends_eos=False),
         "the head pools the last token that is not 2", "error", "classification"),
    Case("PAD308", GOOD, GOOD, "a cause", "error", "classification", verdict=(verdict("pooled-kept"), PASSED)),
    Case("PAD501", replace(GOOD, traits=("ignores-mask",), model_type="cpmant"), GOOD, "cpmant ignores attention_mask", "error", "generation"),
    Case("PAD501", replace(GOOD, traits=("ignores-mask",), head="masked"), GOOD, "ignores attention_mask", "warning", "generation"),
    Case("PAD501", GOOD, GOOD, "a cause", verdict=(verdict("pad-invisible", observed=0.1), PASSED)),
    Case("PAD502", replace(GOOD, traits=("leaks-state",), model_type="rwkv"), replace(GOOD, traits=("leaks-state",), padding_side="right"),
         "rwkv carries a state over the row", "warning", "generation"),
    Case("PAD502", replace(GOOD, traits=("leaks-state", "recurrent")), replace(GOOD, traits=("recurrent",)), "carries a state", "info"),
    Case("PAD501", replace(BERT, traits=("mixes-positions",), model_type="convbert"), BERT, "convbert mixes neighbouring positions", "info"),
    Case("PAD504", replace(GOOD, traits=("pools-on-eos",), pad=EOS, model_type="bart"), replace(GOOD, traits=("pools-on-eos",)),
         "bart pools EOS, and pad is EOS too: '</s>' (2)", "error", "classification"),
    Case("PAD601", replace(GOOD, adapter="lora", adapter_rows=(("embed_tokens", 32001), ("lm_head", 32000))), replace(GOOD, adapter="lora"),
         "differ in rows: 'embed_tokens' 32001, 'lm_head' 32000"),
    Case("PAD601", replace(GOOD, adapter="lora", adapter_rows=(("embed_tokens", 31999),)),
         replace(GOOD, adapter="lora", adapter_rows=(("embed_tokens", 32000),)), "the adapter stores 31999 rows, its tokenizer's highest id is 31999"),
    Case("PAD601", replace(GOOD, adapter="lora", pad=Token("[PAD]", 32064)), replace(GOOD, adapter="lora"), "and the adapter stores none", base=GOOD),
    Case("PAD601", replace(GOOD, adapter="lora", adapter_rows=(("embed_tokens", 32065),)), GOOD, "the adapter stores 32065 rows", base=GOOD),
    Case("PAD604", replace(GOOD, quantized="gguf", pad=None), replace(GOOD, quantized="gguf"), "the GGUF header pads with nothing",
         "warning", "serving", base=GOOD),
    Case("PAD604", replace(GOOD, quantized="gguf", input_rows=32000), replace(GOOD, input_rows=32000), "has 32000 rows", "warning", "serving", base=GOOD),
    Case("PAD605", replace(GOOD, input_rows=32065), GOOD, "the target has 32065 rows, the draft 32064", "warning", "serving", draft=GOOD),
    Case("PAD605", replace(GOOD, eos=Token("<|im_end|>", 7)), GOOD, "the draft's '</s>' (2)", "warning", "serving", draft=GOOD),
]  # fmt: skip

GUARDS = {
    "PAD104": GOOD,
    "PAD503": replace(GOOD, traits=("positions-from-pad",)),
    "PAD505": replace(GOOD, traits=("pad-is-semantic",)),
    "PAD603": replace(GOOD, quantized="gptq"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.words[:24]}")
def test_a_rule_fires_on_the_mistake_and_not_beside_it(case: Case) -> None:
    """One state triggers, with its numbers and its severity; its neighbour does not say the same."""
    found = [f for f in case.findings("bad") if case.words in f.message]
    assert [f.severity for f in found] == [case.severity], case.findings("bad")
    assert not [f for f in case.findings("good") if case.words in f.message and f.severity == case.severity]


def test_every_rule_that_reads_more_than_a_batch_has_a_case() -> None:
    """The catalogue and this file grow together; rules of a batch are tested with the sanity check."""
    batch_only = {code for code, rule in RULES.items() if set(rule.reads) <= {"B", "M"} and "B" in rule.reads}
    assert {case.code for case in CASES} | set(GUARDS) | batch_only == set(RULES)


@pytest.mark.parametrize("code", GUARDS)
def test_a_guard_knows_its_fact_and_is_never_reported(code: str) -> None:
    """What padfix must not break is documented and seen, but no user is told off for it."""
    assert RULES[code].guard
    assert [hit.message for hit in RULES[code].function(GUARDS[code])]
    for task in ("generation", "training", "classification", "serving"):
        assert check(GUARDS[code], task=task, select=code) == ()


def test_the_good_states_are_good() -> None:
    """The neighbours used above show no error, so a case cannot pass by an accident of its base."""
    for state in (GOOD, BERT, LIVE):
        for task in ("generation", "training", "classification", "serving"):
            assert [f for f in check(state, task=task) if f.severity == "error"] == []


def test_a_finding_points_at_its_place() -> None:
    """File, key and line come from where the reader saw the fact."""
    state = replace(
        GOOD, config_pad_id=-1, locations=(("config_pad_id", Location("config.json", "pad_token_id", 12)),)
    )
    (finding,) = check(state, task="training", select="PAD102")
    assert (finding.file, finding.key, finding.line) == ("config.json", "pad_token_id", 12)


def test_the_fix_names_what_the_vocabulary_offers() -> None:
    """A free token first, then a spare row, then a new one; in the words of a shell or of Python."""
    lacking = replace(GOOD, pad=EOS)
    named = replace(lacking, candidates=(Candidate(Token("<|pad|>", 9), "named"),))
    reserved = replace(lacking, candidates=(Candidate(Token("<|reserved_7|>", 9), "reserved"),))
    taken = replace(
        lacking,
        candidates=(Candidate(Token("<|pad|>", 9), "named"),),
        config_token_ids=(("image_token_id", 9),),
    )
    full = replace(lacking, input_rows=32000, output_rows=32000, vocab_size=32000)

    def fix(state: PadState) -> str | None:
        return check(state, task="training", select="PAD002")[0].fix

    assert fix(named) == "padfix fix ./llama --pad-token '<|pad|>'"
    assert fix(reserved) == "padfix fix ./llama --strategy reserved"
    assert fix(taken) == fix(lacking) == "padfix fix ./llama --strategy spare"
    assert fix(full) == 'padfix.ensure_pad(model, tok, strategy="add")'
    assert fix(replace(reserved, live=True)) == 'padfix.ensure_pad(model, tok, strategy="reserved")'
    assert fix(replace(reserved, source="a b; rm -rf /")) == "padfix fix 'a b; rm -rf /' --strategy reserved"
    assert fix(replace(reserved, quantized="gguf")) == fix(replace(full, quantized="gguf"))
    assert "convert it again" in str(fix(replace(full, quantized="gguf")))
    assert fix(replace(reserved, source="\x1b[31m")) == "padfix fix FOLDER --strategy reserved"


def test_a_decoder_that_pads_with_eos_keeps_it_out_of_its_config() -> None:
    """What `padfix fix --strategy eos` writes is not reported for training and serving; to classify, the id is needed."""
    state = replace(
        GOOD, pad=EOS, config_pad_id=None, head="causal", traits=("padding-idx-from-config", "pools-on-pad")
    )
    other = replace(state, traits=("pools-on-pad",))
    for task, kept_out, else_ in (
        ("training", None, "info"),
        ("serving", None, "info"),
        ("classification", "error", "error"),
    ):
        assert {f.severity for f in check(state, task=task, select="PAD203")} == ({kept_out} - {None})
        assert {f.severity for f in check(other, task=task, select="PAD203")} == {else_}
    (found,) = check(other, task="training", select="PAD203")
    assert "--strategy eos" in str(found.fix)  # auto would leave a pad that is EOS alone
