"""Files and live objects give the same portable state: the corpus, and tiny models of every architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

from padfix.errors import SourceError
from padfix.read.live import inspect
from padfix.read.repo import read_repo
from padfix.read.source import open_source
from padfix.testing import CannotBuildError, architectures, matching_tokenizer, tiny_model
from padfix.types import Candidate, PadState
from real_tokenizers import corpus_index

MAJOR = transformers.__version__.split(".")[0]
# what a tokenizer alone decides; the config beside a corpus folder is not loaded with it
TOKENIZER = (
    "tokenizer_class", "pad", "eos", "unk", "bos", "specials", "n_tokens", "max_id", "holes", "next_id", "padding_side",
    "chat_template", "unk_emitted", "appends_eos", "backend_padding",
)  # fmt: skip
FAMILIES = (
    "llama", "gpt2", "qwen2", "gemma3", "phi", "mistral", "mamba", "rwkv", "bloom", "mpt", "bart", "xglm",
    "openai-gpt", "ctrl",
)  # fmt: skip
# (architecture, major) -> the fields in which the saved and the live model disagree for a known reason
UNEQUAL = {
    # its decoder has a table and a projection, transformers 5 ties and saves neither as the other's, and calls the
    # table the head though the logits come from the projection: which of the two is left over is all that differs
    ("fsmt", "5"): {"other_rows"},
}


def facts(state: PadState, names: tuple[str, ...]) -> dict[str, Any]:
    """The named fields, and the candidates that need no model."""
    found = {name: getattr(state, name) for name in names}
    return found | {"candidates": [c for c in state.candidates if c.kind != "config"]}


def load(folder: Path) -> Any:
    """What a user's `AutoTokenizer` gives, or the reason why it gives nothing."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - transformers raises many types; the reader must refuse too
        return error


@pytest.mark.filterwarnings("ignore")
def test_corpus_from_files_equals_auto_tokenizer(corpus_name: str, corpus: Path) -> None:
    """Everything a tokenizer decides is the same from files as from AutoTokenizer, in this major."""
    folder = corpus / corpus_name
    tokenizer = load(folder)
    if isinstance(tokenizer, Exception):
        with pytest.raises(SourceError):
            read_repo(open_source(folder), major=MAJOR)
        return
    state = read_repo(open_source(folder), major=MAJOR)
    live = inspect(None, tokenizer)
    assert facts(state, TOKENIZER) == facts(live, TOKENIZER)
    if tokenizer.is_fast:  # what else gives the pad is not known of a tokenizer in Python
        assert state.pad_uses == live.pad_uses
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    for text in (vocab[len(vocab) // 2][0], vocab[-1][0]):
        named = read_repo(open_source(folder), major=MAJOR, wanted=text)
        assert wanted(named) == wanted(inspect(None, tokenizer, wanted=text))


def wanted(state: PadState) -> list[Candidate]:
    """The token that a caller named, with what speaks against it."""
    return [candidate for candidate in state.candidates if candidate.kind == "wanted"]


def test_corpus_folders_that_do_not_load_are_refused_with_a_reason(corpus: Path) -> None:
    """Code of the repository's own and a missing file are a `SourceError` that says which."""
    with pytest.raises(SourceError, match="the repository's own code"):
        read_repo(open_source(corpus / "qwen/qwen-7b-chat-tiktoken"), major="5")
    with pytest.raises(SourceError, match=r"no tokenizer\.json and no tokenizer\.model"):
        read_repo(open_source(corpus / "molmo/molmo-7b-d-nf4"), major="5")


def test_corpus_index_agrees_for_major_5_wherever_this_runs(corpus_name: str, corpus: Path) -> None:
    """The facts recorded from transformers 5 come out of the files under either installed major."""
    entry = corpus_index()[corpus_name]
    state = read_repo(open_source(corpus / corpus_name), major="5")
    assert state.tokenizer_class == entry["cls"]
    assert (state.n_tokens, state.max_id, state.holes) == (entry["len"], entry["max_id"], entry["holes"])
    for role in ("pad", "eos", "unk", "bos"):
        token = getattr(state, role)
        assert (token and token.text, token and token.id) == (entry[f"{role}_token"], entry[f"{role}_id"])


def test_the_pad_of_both_majors_is_known(corpus: Path) -> None:
    """GPT-NeoX tokenizers have no pad in transformers 4 and ``<|padding|>`` in 5."""
    state = read_repo(open_source(corpus / "mpt/mpt-tokenizer-only"), major="5")
    assert state.pad_by_major == (("4", None), ("5", "<|padding|>"))


def test_the_pad_that_merges_spell_is_ordinary_text(corpus: Path) -> None:
    """Qwen3's MLX conversion pads with a token that its own merges build; Yi's pad of the same name is not one."""
    mlx = read_repo(open_source(corpus / "qwen/qwen3-235b-a22b-mlx-4bit"))
    assert mlx.pad_uses == ("text",)
    assert read_repo(open_source(corpus / "yi/yi-lenml")).pad_uses == ()


def differences(model: Any, tokenizer: Any, folder: Path) -> dict[str, tuple[Any, Any]]:
    """Fields in which the portable states of the live and the saved model differ.

    The tokenizer is the one that AutoTokenizer gives beside the saved config: Qwen2's is another class then.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    live = inspect(model, load(folder)).portable()
    files = read_repo(open_source(folder), major=MAJOR).portable()
    return {
        f.name: (getattr(live, f.name), getattr(files, f.name))
        for f in dataclasses.fields(live)
        if getattr(live, f.name) != getattr(files, f.name)
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_saved_model_has_the_state_of_the_live_one(model_type: str, tmp_path: Path) -> None:
    """Law 6: live objects and the folder they were saved to have the same portable state."""
    heads = [h for h in ("causal", "seq2seq") if model_type in architectures(h)]
    if not heads:
        pytest.skip(f"transformers {transformers.__version__} has no {model_type}")
    model = tiny_model(model_type, heads[0])
    assert differences(model, matching_tokenizer(model), tmp_path) == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("head", ["causal", "classifier", "token-classifier"])
def test_tying_and_heads_are_seen_in_the_header(head: Any, tied: bool, tmp_path: Path) -> None:
    """A tied head has the input's rows, an untied one its own, a classifier none."""
    model = tiny_model(
        "llama", head, **({"tied": tied} if head == "causal" else {"tie_word_embeddings": tied})
    )
    assert differences(model, matching_tokenizer(model), tmp_path) == {}


def every_architecture() -> Iterator[Any]:
    for head in ("causal", "masked", "seq2seq", "classifier", "token-classifier"):
        for name in architectures(head):  # type: ignore[arg-type]
            yield pytest.param(name, head, id=f"{name}-{head}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model_type", "head"), list(every_architecture()))
def test_every_architecture_keeps_the_law(model_type: str, head: Any, tmp_path: Path) -> None:
    """Law 6 over every architecture and head of the installed transformers."""
    try:
        model = tiny_model(model_type, head)
    except CannotBuildError as error:
        pytest.skip(str(error))
    found = differences(model, matching_tokenizer(model), tmp_path)
    assert found.keys() == UNEQUAL.get((model_type, MAJOR), set()), found


@pytest.mark.filterwarnings("ignore")
def test_two_vocabularies_are_the_encoders_and_the_decoders(tmp_path: Path) -> None:
    """FSMT translates between vocabularies of two sizes: ids of the input belong to the encoder's table."""
    model = tiny_model("fsmt", "seq2seq", src_vocab_size=131, tgt_vocab_size=140)
    model.save_pretrained(tmp_path)
    live = inspect(model, matching_tokenizer(model))
    files = read_repo(open_source(tmp_path), major=MAJOR)
    assert (live.input_rows, live.output_rows) == (131, 140)
    assert (files.input_rows, files.output_rows, files.tied) == (131, 140, False)
