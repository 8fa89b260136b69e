"""Reading live objects: every fact, nothing changed, whatever state a user's objects are in."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from padfix.errors import PadfixError
from padfix.read.live import inspect, text_tokenizer, unwrap
from padfix.testing import tiny_model, tiny_tokenizer
from padfix.types import ABSENT, BadValue, Token
from real_tokenizers import corpus_index


def backend_text(tok: Any) -> str:
    return str(tok.backend_tokenizer.to_str())


def test_a_tokenizer_alone() -> None:
    """Without a model the tokenizer's own facts are there, and the rest is unknown."""
    tok = tiny_tokenizer(pad=None, eos="</s>", unk="<unk>")
    state = inspect(None, tok)
    assert state.pad is None and state.eos == Token("</s>", tok.eos_token_id) and state.unk is not None
    assert (state.n_tokens, state.max_id, state.holes) == (len(tok), len(tok) - 1, 0)
    assert state.next_id == len(tok) and not state.has_model and state.input_rows is None and state.live


def test_reading_changes_nothing() -> None:
    """Tokenizer backend, maps, config and weights are bit for bit what they were."""
    model, tok = tiny_model("llama"), tiny_tokenizer(pad=None)
    tok.backend_tokenizer.enable_padding(length=7)
    before = (backend_text(tok), dict(vars(tok)), copy.deepcopy(model.config.to_dict()), model.training)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    inspect(model, tok)
    assert (
        before[0] == backend_text(tok) and before[2] == model.config.to_dict() and before[3] == model.training
    )
    assert before[1].keys() == vars(tok).keys()
    assert all(v.equal(weights[k]) for k, v in model.state_dict().items())


def test_a_pad_string_without_an_id() -> None:
    """A pad that is not in the vocabulary has no id, although transformers answers with the unk id."""
    tok = tiny_tokenizer(pad=None, unk="<unk>")
    tok.pad_token = "<not-there>"
    assert inspect(None, tok).pad == Token("<not-there>", None)


@pytest.mark.parametrize("value", [-1, 10**6, 0, None])
def test_config_ids_are_read_as_they_are(value: int | None) -> None:
    """Negative and far ids are facts, not errors of reading; 0 is an id."""
    model, tok = tiny_model("gpt2"), tiny_tokenizer(pad=None)
    model.config.pad_token_id = value
    assert inspect(model, tok).config_pad_id == value


def test_an_id_of_a_wrong_type_is_named() -> None:
    """An exporter copied an EOS list into the pad key."""
    model, tok = tiny_model("gpt2"), tiny_tokenizer(pad=None)
    object.__setattr__(model.config, "pad_token_id", [2, 3])
    assert inspect(model, tok).config_pad_id == BadValue("list", "[2, 3]")


def test_an_absent_attribute_is_not_none() -> None:
    """transformers 5 gives some configs no such attribute at all."""
    model, tok = tiny_model("gpt2"), tiny_tokenizer(pad=None)
    if "pad_token_id" in vars(model.config):
        object.__delattr__(model.config, "pad_token_id")
    elif hasattr(model.config, "pad_token_id"):
        pytest.skip("the class itself holds the default")
    state = inspect(model, tok)
    assert state.config_pad_id is ABSENT or state.config_pad_id is None


def test_lists_of_eos_ids() -> None:
    """The end ids of config and generation config are sets."""
    model, tok = tiny_model("llama"), tiny_tokenizer(pad=None)
    model.config.eos_token_id = [5, 3]
    model.generation_config.eos_token_id = [3, 9]
    state = inspect(model, tok)
    assert state.config_eos_ids == (3, 5) and state.generation_eos_ids == (3, 9)
    assert set(state.eos_ids) == {3, 5, 9, tok.eos_token_id}


def test_a_nested_text_config() -> None:
    """Gemma 3 keeps its pad in the text config; the top level may have none."""
    model, tok = tiny_model("gemma3"), tiny_tokenizer(pad=None)
    model.config.get_text_config().pad_token_id = 7
    state = inspect(model, tok)
    assert state.text_config_pad_ids[0] == ("text_config", 7) and state.text_pad_id == 7


def test_several_text_configs_do_not_raise() -> None:
    """T5Gemma is two Gemmas, so two configs have the vocabulary."""
    state = inspect(tiny_model("t5gemma", "seq2seq"), tiny_tokenizer(pad=None))
    assert {path for path, _ in state.text_config_pad_ids} == {"encoder", "decoder"}


def test_a_pad_whose_class_has_no_setter() -> None:
    """ChatGLM's property cannot be set; that is a fact, found without trying."""
    tok = tiny_tokenizer(pad=None)
    fixed = type("FixedPad", (type(tok),), {"pad_token": property(lambda self: "<unk>")})
    tok.__class__ = fixed
    assert not inspect(None, tok).pad_settable


def test_holes_and_the_id_after_a_reload(tmp_path: Path) -> None:
    """With holes a new token's id moves: in memory max + 1, after a reload the length."""
    import json

    from transformers import AutoTokenizer

    tok = tiny_tokenizer(pad=None)
    raw = json.loads(backend_text(tok))
    raw["added_tokens"].append(
        {
            "id": 500,
            "content": "<|far|>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    )
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    far = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(raw)), eos_token=tok.eos_token
    )
    state = inspect(None, far)
    far.add_special_tokens({"pad_token": "[PAD]"})
    far.save_pretrained(tmp_path)
    assert state.next_id == AutoTokenizer.from_pretrained(tmp_path).pad_token_id


def test_wrapped_models_are_unwrapped() -> None:
    """torch.compile, DDP-like wrappers and PEFT give the model inside, and say so."""
    import torch
    from peft import LoraConfig, get_peft_model

    model = tiny_model("llama")
    compiled = torch.compile(model)
    assert unwrap(compiled) == (model, ("OptimizedModule",))

    class Parallel(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

    assert unwrap(Parallel(model)) == (model, ("Parallel",))
    adapted = get_peft_model(
        tiny_model("llama"), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    )
    state = inspect(adapted, tiny_tokenizer(pad=None))
    assert state.adapter == "lora" and state.wrappers and state.input_rows == 131


def test_what_is_neither_tokenizer_nor_model() -> None:
    """A wrong argument is named, with what to pass instead."""
    with pytest.raises(PadfixError, match=r"found builtins\.str"):
        text_tokenizer("gpt2")
    import torch

    with pytest.raises(PadfixError, match="Linear"):
        inspect(torch.nn.Linear(2, 2), tiny_tokenizer())


def test_a_processor_holds_the_tokenizer() -> None:
    """Anything with a tokenizer inside is accepted."""
    tok = tiny_tokenizer(pad="<pad>")
    processor = type("Processor", (), {"tokenizer": tok})()
    assert inspect(None, processor).pad == inspect(None, tok).pad


def test_the_pad_row_is_measured() -> None:
    """Zero, not finite, a duplicate, and its norm."""
    import torch

    model, tok = tiny_model("gpt2"), tiny_tokenizer(pad="<pad>")
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[tok.pad_token_id] = 0
    row = inspect(model, tok).pad_row
    assert row is not None and row.zero and row.finite and row.norm == 0.0
    with torch.no_grad():
        weight[tok.pad_token_id] = weight[50]
    row = inspect(model, tok).pad_row
    assert (
        row is not None
        and row.duplicate_of == 50
        and row.norm == pytest.approx(float(weight[50].detach().norm()))
    )
    with torch.no_grad():
        weight[tok.pad_token_id, 3] = float("nan")
    row = inspect(model, tok).pad_row
    assert row is not None and not row.finite


def test_the_corpus_reads_as_its_index_says(corpus: Path, corpus_name: str) -> None:
    """Pad, EOS, unk and BOS (string and id), length, highest id and holes of every real tokenizer."""
    import transformers
    from transformers import AutoTokenizer

    if not transformers.__version__.startswith("5."):
        pytest.skip("the index was made with transformers 5")
    expected = corpus_index()[corpus_name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)
        tok = AutoTokenizer.from_pretrained(corpus / corpus_name, trust_remote_code=False)
    state = inspect(None, tok)
    for name in ("pad", "eos", "unk", "bos"):
        token = getattr(state, name)
        assert (token and token.text, token and token.id) == (
            expected[f"{name}_token"],
            expected[f"{name}_id"],
        ), name
    assert (state.n_tokens, state.max_id, state.holes) == (
        expected["len"],
        expected["max_id"],
        expected["holes"],
    )


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "wordlevel"])
def test_what_else_gives_the_pad(kind: str) -> None:
    """A word as pad comes from text, a token of its own from nothing, unless a template or the post-processor writes it."""
    from padfix.rules import check

    tok = trained(kind)
    assert inspect(None, tok).pad_uses is None
    tok.pad_token = "<pad>"
    assert inspect(None, tok).pad_uses == ()
    tok.chat_template = "{{ messages[0].content }}<pad>"
    assert inspect(None, tok).pad_uses == ("chat-template",)
    tok.pad_token, tok.chat_template = "hello", None
    state = inspect(None, tok)
    assert state.pad_uses == ("text",)
    assert tok("hello").input_ids == [state.pad.id]
    assert "PAD006" in {f.code for f in check(state, task="training")}
    tok.pad_token = "<s>"
    assert inspect(None, tok).pad_uses == ()
    tok.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tok.convert_tokens_to_ids("<s>"))]
    )
    assert inspect(None, tok).pad_uses == ("post-processor",)


def test_a_model_that_ignores_merges_gives_whole_pieces_only() -> None:
    """Llama 3 looks a piece up whole: a bracketed string in its vocabulary is no piece of its pre-tokenizer."""
    tok = trained("bpe", ignore_merges=True)
    for pad, uses in (("hello", ("text",)), ("<raw>", ())):
        tok.pad_token = pad
        assert inspect(None, tok).pad_uses == uses
        assert (tok.pad_token_id in tok(f"x {pad} x").input_ids) == bool(uses)


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_a_model_without_its_unk_or_pre_tokenizer_is_read(ignore_merges: bool) -> None:
    """The Rust library raises where a text needs an unk that is not there; reading must not."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    model = models.BPE({"<pad>": 0, "a": 1}, [], unk_token="<gone>", ignore_merges=ignore_merges)
    tok = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))
    tok.pad_token = "<pad>"
    with pytest.raises(Exception, match="not found"):
        model.tokenize("xyz")
    assert inspect(None, tok).pad == Token("<pad>", 0)


def test_a_vocabulary_with_none_in_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLuke without its model file lists the id of None."""
    tok = tiny_tokenizer()
    whole = tok.get_vocab()
    monkeypatch.setattr(type(tok), "get_vocab", lambda self: {None: 5000, **whole})
    assert inspect(None, tok).max_id == max(whole.values())


def trained(kind: str, **options: Any) -> Any:
    """A tokenizer with the word hello, and the special tokens <unk>, <s> and <pad>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<s>", "<pad>", "<raw>", "hello", "he", "llo", "ll", *"helox<raw>"]
    vocab = {text: i for i, text in enumerate(dict.fromkeys(names))}
    merges = [("h", "e"), ("l", "l"), ("ll", "o"), ("he", "llo")]
    model = {
        "bpe": lambda: models.BPE(vocab, merges, unk_token="<unk>", **options),
        "wordpiece": lambda: models.WordPiece(vocab, unk_token="<unk>"),
        "unigram": lambda: models.Unigram([(text, -1.0) for text in vocab], 0, False),
        "wordlevel": lambda: models.WordLevel(vocab, unk_token="<unk>"),
    }[kind]()
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<unk>", "<s>", "<pad>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>")
