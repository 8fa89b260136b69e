"""A plan carried out on live objects, undone, refused; tokenizers of every kind."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import pytest
from live_facts import differences, model_facts, tokenizer_facts

from padfix.api import plan
from padfix.errors import PadfixError, StrategyError
from padfix.testing import tiny_model, tiny_tokenizer
from padfix.types import ABSENT, Edit, Plan, Token
from padfix.write.live import Transaction


def write(model: Any, tok: Any, strategy: str, **options: Any) -> Callable[[], None]:
    """Plan, apply, commit; the undo is returned."""
    wanted = plan(model, tok, strategy, **options)
    transaction = Transaction(model, tok)
    transaction.apply(wanted)
    return transaction.commit()


def facts(model: Any, tok: Any) -> dict[str, Any]:
    """Everything observable, without the identity of the serialised backend."""
    return {**({} if model is None else model_facts(model)), **tokenizer_facts(tok)}


CASES = [
    ("llama", "eos", {}, {}),
    ("llama", "reserved", {"reserved": 3}, {}),
    ("llama", "spare", {"vocab_size": 120}, {}),
    ("gpt2", "add", {}, {}),
    ("llama", "add", {}, {"init": "zero"}),
    ("gpt2", "auto", {"pad": "<pad>"}, {"init": "zero"}),
    ("llama", "auto", {"pad": "<pad>"}, {"init": "mean"}),
]


@pytest.mark.parametrize(("model_type", "strategy", "tokenizer", "options"), CASES)
def test_undo_restores_every_bit(model_type: str, strategy: str, tokenizer: Any, options: Any) -> None:
    """After undo nothing observable differs, and a second undo is an error."""
    model, tok = tiny_model(model_type), tiny_tokenizer(**tokenizer)
    before = facts(model, tok)
    undo = write(model, tok, strategy, **options)
    assert differences(before, facts(model, tok))
    undo()
    assert not differences(before, facts(model, tok))
    with pytest.raises(PadfixError, match="undone already"):
        undo()


def test_undo_leaves_later_changes_to_other_things_alone() -> None:
    """Only what the fix changed goes back: a padding side, a config key and a bos set since stay."""
    model, tok = tiny_model("llama"), tiny_tokenizer()
    undo = write(model, tok, "add")
    tok.padding_side = "left"
    tok.bos_token = tok.eos_token
    model.config.use_cache = False
    undo()
    assert tok.pad_token is None and len(tok) == 131
    assert (tok.padding_side, tok.bos_token, model.config.use_cache) == ("left", tok.eos_token, False)


@pytest.mark.parametrize("train", ["optimiser", "data"])
def test_undo_refuses_weights_that_were_trained(train: str) -> None:
    """Truncating a trained matrix would give neither the old model nor the new one; nothing is changed then."""
    import torch

    model, tok = tiny_model("llama"), tiny_tokenizer()
    undo = write(model, tok, "add")
    if train == "optimiser":
        ids = torch.tensor([[5, 6, 7]])
        model(input_ids=ids, labels=ids).loss.backward()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
    else:
        model.lm_head.weight.data[3, 3] += 1  # past autograd's version counter
    trained = facts(model, tok)
    with pytest.raises(PadfixError, match=r"rows of \S+weight have changed"):
        undo()
    assert not differences(trained, facts(model, tok))


def test_undo_refuses_a_pad_row_trained_since() -> None:
    """An overwritten row is only put back where nothing else has moved."""
    import torch

    model, tok = tiny_model("llama"), tiny_tokenizer(pad="<pad>")
    undo = write(model, tok, "auto", init="zero")
    with torch.no_grad():
        model.model.embed_tokens.weight[tok.pad_token_id] += 1
    with pytest.raises(PadfixError, match=r"rows of model\.embed_tokens\.weight have changed"):
        undo()


def test_undo_refuses_a_tokenizer_that_grew_since() -> None:
    """Putting the old backend back would silently drop tokens that were added later."""
    tok = tiny_tokenizer()
    undo = write(None, tok, "add")
    tok.add_tokens(["<later>"])
    with pytest.raises(PadfixError, match="132 tokens"):
        undo()
    assert "<later>" in tok.get_vocab()


def test_undo_refuses_when_an_adapter_came_since() -> None:
    """An adapter's modules hold the grown matrices."""
    peft = pytest.importorskip("peft")
    model, tok = tiny_model("llama"), tiny_tokenizer()
    undo = write(model, tok, "add")
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))
    with pytest.raises(PadfixError, match="adapter"):
        undo()


def test_a_plan_without_a_new_row_works_under_an_adapter_and_a_compiler() -> None:
    """Setting the pad needs no growth, so wrappers do not matter: the inner model's configs are edited."""
    import torch

    peft = pytest.importorskip("peft")
    model, tok = tiny_model("llama"), tiny_tokenizer(reserved=1)
    wrapped = torch.compile(peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2)))
    write(wrapped, tok, "reserved")
    assert model.config.pad_token_id == tok.pad_token_id == model.generation_config.pad_token_id


def test_the_context_manager_rolls_back_what_was_not_committed() -> None:
    """Leaving the block without a commit, by an exception or not, restores everything."""
    model, tok = tiny_model("gpt2"), tiny_tokenizer()
    before = facts(model, tok)
    wanted = plan(model, tok, "add")
    with pytest.raises(ZeroDivisionError), Transaction(model, tok) as transaction:
        transaction.apply(wanted)
        raise ZeroDivisionError
    assert not differences(before, facts(model, tok))
    with Transaction(model, tok) as transaction:
        transaction.apply(wanted)
        transaction.commit()
    assert differences(before, facts(model, tok))


# --- plans that do not fit -----------------------------------------------------------------------------


def test_a_plan_made_for_other_rows_is_refused() -> None:
    """A plan is a promise about one state: another row count, or another new id, is an error, not a guess."""
    model, tok = tiny_model("llama"), tiny_tokenizer()
    wanted = plan(model, tok, "add")
    before = facts(model, tok)
    edits = tuple(dataclasses.replace(e, before=99) if e.key == "input_rows" else e for e in wanted.edits)
    with pytest.raises(StrategyError, match="99 input rows, and there are 131"):
        Transaction(model, tok).apply(dataclasses.replace(wanted, edits=edits))
    shrinking = tuple(dataclasses.replace(e, after=99) if e.key == "input_rows" else e for e in wanted.edits)
    with pytest.raises(StrategyError, match="removes no row"):
        Transaction(model, tok).apply(dataclasses.replace(wanted, edits=shrinking))
    pad = Token("[PAD]", 140)
    other = (Edit("tokenizer", "added_token", None, pad), Edit("tokenizer", "pad_token", None, pad))
    with pytest.raises(StrategyError, match="the id 131, and the plan was made for 140"):
        Transaction(model, tok).apply(Plan("add", "add", pad, other))
    with pytest.raises(StrategyError, match="none here"):
        Transaction(None, tok).apply(wanted)
    assert not differences(before, facts(model, tok))


def test_a_new_token_without_a_row_is_refused() -> None:
    """An id that no row answers to would raise an IndexError in the next forward pass."""
    model, tok = tiny_model("llama"), tiny_tokenizer()
    pad = Token("[PAD]", 131)
    edits = (Edit("tokenizer", "added_token", None, pad), Edit("tokenizer", "pad_token", None, pad))
    before = facts(model, tok)
    with pytest.raises(StrategyError, match="131 is not below the 131 rows"):
        Transaction(model, tok).apply(Plan("add", "add", pad, edits))
    assert not differences(before, facts(model, tok))


# --- tokenizers ----------------------------------------------------------------------------------------


def test_the_id_is_that_of_a_reload_where_the_vocabulary_has_holes(tmp_path: Any) -> None:
    """cl100k-like: in memory a new token gets max + 1 (100277), a reload gives len (100261)."""
    from tokenizers import Tokenizer, models
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    vocab = {"a": 0, "b": 1, "c": 2, "</s>": 7}
    tok = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="a")), eos_token="</s>"
    )
    before = tokenizer_facts(tok)
    undo = write(None, tok, "add")
    tok.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (
        (again.pad_token, again.pad_token_id)
        == (tok.pad_token, tok.pad_token_id)
        == ("[PAD]", tok.pad_token_id)
    )
    assert len(tok) == len(again) == 5
    undo()
    assert not differences(before, tokenizer_facts(tok))


def test_a_slow_tokenizer_is_set_and_restored(tmp_path: Any) -> None:
    """A Python tokenizer changes dictionaries and a trie in place; a rollback puts their content back."""
    from transformers.models.ctrl.tokenization_ctrl import CTRLTokenizer

    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "<unk>": 2, "c@@": 3}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tok = CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    before = tokenizer_facts(tok)
    wanted = plan(None, tok, "add")
    transaction = Transaction(None, tok)
    transaction.apply(wanted)
    assert tok.pad_token_id == 4 and tok("a [PAD] b")["input_ids"][1] == 4
    transaction.rollback()
    assert not differences(before, tokenizer_facts(tok))
    undo = write(None, tok, "add")
    undo()
    assert not differences(before, tokenizer_facts(tok))


def test_a_pad_of_the_base_vocabulary_becomes_the_added_token_that_a_reload_makes_of_it(
    tmp_path: Any,
) -> None:
    """What tokenises in memory tokenises the same after save and reload."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "a": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    old = tok._tokenizer
    write(None, tok, "auto", pad_token="<pad>")
    assert tok.pad_token_id == 1 and len(tok) == 3
    assert tok._tokenizer is not old and "<pad>" not in [
        str(t) for t in old.get_added_tokens_decoder().values()
    ]
    tok.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("a<pad>a", "a <pad>", "a b"):
        assert tok(text)["input_ids"] == again(text)["input_ids"]


class _Fixed:
    """ChatGLM-like classes define ``pad_token`` as a property without a setter."""

    @property
    def pad_token(self) -> str:
        return "</s>"


def test_a_pad_that_cannot_be_set_is_refused_and_rolled_back() -> None:
    """Silence would leave a tokenizer that says one pad and uses another."""
    model, tok = tiny_model("llama"), tiny_tokenizer(reserved=1)
    tok.__class__ = type("Stubborn", (_Fixed, type(tok)), {})
    before = facts(model, tok)
    pad = Token("<|reserved_0|>", tok.get_vocab()["<|reserved_0|>"])
    with pytest.raises(StrategyError, match="Stubborn does not"):
        Transaction(model, tok).apply(
            Plan("reserved", "reserved", pad, (Edit("tokenizer", "pad_token", None, pad),))
        )
    assert not differences(before, facts(model, tok))


def test_a_processor_and_its_tokenizer_agree() -> None:
    """The pad is set on the tokenizer that the processor holds, and on the copies it keeps."""
    tok = tiny_tokenizer(reserved=1)
    processor = types.SimpleNamespace(tokenizer=tok, pad_token_id=None, image_token="<image>")
    before = {**vars(processor), **tokenizer_facts(tok)}
    undo = write(None, processor, "reserved")
    assert processor.pad_token_id == tok.pad_token_id is not None
    undo()
    assert not differences(before, {**vars(processor), **tokenizer_facts(tok)})


def test_the_padding_block_of_the_backend_follows() -> None:
    """Rust, Java and Go consumers of tokenizer.json pad with what its block says."""
    tok = tiny_tokenizer(reserved=1)
    tok._tokenizer.enable_padding(pad_id=5, pad_token="five", direction="left")
    before = tokenizer_facts(tok)
    undo = write(None, tok, "reserved")
    padding = tok._tokenizer.padding
    assert (padding["pad_id"], padding["pad_token"], padding["direction"]) == (
        tok.pad_token_id,
        tok.pad_token,
        "left",
    )
    undo()
    assert not differences(before, tokenizer_facts(tok))


# --- configs and module attributes ---------------------------------------------------------------------


def test_a_key_that_was_absent_is_absent_again() -> None:
    """None and nothing are different: transformers 5 has configs without the attribute."""
    model, tok = tiny_model("llama"), tiny_tokenizer(reserved=1)
    vars(model.config).pop("pad_token_id", None)
    absent = not hasattr(model.config, "pad_token_id")
    before = facts(model, tok)
    undo = write(model, tok, "reserved")
    assert model.config.pad_token_id == tok.pad_token_id
    undo()
    assert "pad_token_id" not in vars(model.config) and hasattr(model.config, "pad_token_id") is not absent
    assert not differences(before, facts(model, tok))


def test_a_key_that_a_config_hands_on_to_nested_configs_is_undone_there_too() -> None:
    """T5Gemma of transformers 4.57 sets vocab_size on its encoder's and decoder's configs as well."""
    model, tok = tiny_model("t5gemma", "seq2seq"), tiny_tokenizer()
    before = facts(model, tok)
    undo = write(model, tok, "add")
    assert model.config.decoder.vocab_size == 132
    undo()
    assert not differences(before, facts(model, tok))


def test_copies_of_a_config_in_submodules_are_kept_in_step() -> None:
    """T5's encoder and decoder hold copies of the config, BART's the config itself: all say the same."""
    for model_type in ("t5", "bart"):
        model = tiny_model(model_type, "seq2seq")
        tok = tiny_tokenizer()
        old = model.config.pad_token_id
        edit = Edit("config", "pad_token_id", old, 7)
        transaction = Transaction(model, tok)
        transaction.apply(Plan("x", "keep", None, (edit,)))
        held = {module.config.pad_token_id for module in model.modules() if hasattr(module, "config")}
        assert held == {7}, model_type
        transaction.rollback()
        assert {m.config.pad_token_id for m in model.modules() if hasattr(m, "config")} == {old}


def test_padding_idx_moves_with_its_owners_but_never_where_it_means_positions() -> None:
    """The embedding and the model above it are moved; RoBERTa's position arithmetic is not."""
    model, tok = tiny_model("llama", pad_token_id=1), tiny_tokenizer()
    assert model.model.embed_tokens.padding_idx == 1
    before = facts(model, tok)
    transaction = Transaction(model, tok)
    transaction.apply(Plan("x", "keep", None, (Edit("model", "padding_idx", 1, None),)))
    assert model.model.embed_tokens.padding_idx is None and model.model.padding_idx is None
    transaction.rollback()
    assert not differences(before, facts(model, tok))

    roberta = tiny_model("roberta", "masked")
    old = roberta.roberta.embeddings.padding_idx
    transaction = Transaction(roberta, tok)
    transaction.apply(Plan("x", "keep", None, (Edit("model", "padding_idx", old, None),)))
    assert roberta.roberta.embeddings.word_embeddings.padding_idx is None
    assert roberta.roberta.embeddings.padding_idx == old
    assert roberta.roberta.embeddings.position_embeddings.padding_idx == old


def test_a_frozen_eos_row_trains_again() -> None:
    """padding_idx = EOS makes the gradient of its input row exactly 0; cleared, it is not."""
    import torch

    eos = tiny_tokenizer().eos_token_id
    model, tok = tiny_model("llama", pad_token_id=eos, tied=False), tiny_tokenizer()

    def gradient() -> float:
        model.zero_grad()
        ids = torch.tensor([[5, eos, 7, 8]])
        model(input_ids=ids, labels=ids).loss.backward()
        return float(model.model.embed_tokens.weight.grad[eos].norm())

    assert gradient() == 0.0
    write(model, tok, "eos")
    assert gradient() > 0.0


def test_an_edit_of_something_that_is_not_there_is_refused() -> None:
    """A nested config or a generation config that this model does not have."""
    model, tok = tiny_model("llama"), tiny_tokenizer()
    for target in ("config.text_config", "generation_config"):
        if target == "generation_config":
            model.generation_config = None
        with pytest.raises(StrategyError, match=f"edits {target}"):
            Transaction(model, tok).apply(Plan("x", "keep", None, (Edit(target, "pad_token_id", ABSENT, 3),)))


def test_a_config_property_without_a_setter_is_refused_and_nothing_is_lost() -> None:
    """Its pad id cannot be written, so it need not be put back either: one typed refusal, no alarm."""
    model, tok = tiny_model("llama", pad_token_id=None), tiny_tokenizer(pad=None, eos="</s>")

    class Fixed(type(model.config)):  # type: ignore[misc]
        @property
        def pad_token_id(self) -> int:
            return 7

    model.config.__class__ = Fixed
    with pytest.raises(StrategyError, match="cannot hold 131"):
        write(model, tok, "add")
    assert model.config.pad_token_id == 7
    assert (len(tok), tok.pad_token, model.lm_head.weight.shape[0]) == (131, None, 131)
