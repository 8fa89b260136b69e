"""Readers of single formats: sentencepiece, tiktoken, safetensors and GGUF headers, configs, class tables."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from padfix.errors import SourceError
from padfix.read import defaults
from padfix.read.configs import model_facts
from padfix.read.gguf_header import read_gguf
from padfix.read.json_file import JsonFile, load
from padfix.read.repo import read_repo
from padfix.read.rows import judge
from padfix.read.safetensors_header import read_header
from padfix.read.sentencepiece_model import parse_model
from padfix.read.source import open_source
from padfix.read.tiktoken_file import parse_tiktoken
from padfix.types import ABSENT, Location, Token

ROOT = Path(__file__).resolve().parents[2]
MAJOR = transformers.__version__.split(".")[0]


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def piece(text: str, kind: int | None = None) -> bytes:
    body = b"\x0a" + varint(len(text.encode())) + text.encode() + b"\x15" + struct.pack("<f", -1.0)
    body += b"" if kind is None else b"\x18" + varint(kind)
    return b"\x0a" + varint(len(body)) + body


def test_a_sentencepiece_model_is_read_as_its_own_library_reads_it(corpus: Path) -> None:
    """Pieces, types and special ids of a real model, against the sentencepiece library."""
    sentencepiece = pytest.importorskip("sentencepiece")
    path = corpus / "albert/albert-base-v2/spiece.model"
    real = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = parse_model(path.read_bytes(), "here", path.name)
    assert list(ours.texts) == [real.id_to_piece(i) for i in range(real.get_piece_size())]
    assert [i for i, kind in enumerate(ours.kinds) if kind == 3] == [
        i for i in range(real.get_piece_size()) if real.is_control(i)
    ]
    assert (ours.unk_id, ours.bos_id, ours.eos_id) == (real.unk_id(), real.bos_id(), real.eos_id())


def test_unusual_pieces_take_the_general_way() -> None:
    """A long piece, one without a score and one with fields in another order are pieces too."""
    long = "x" * 300
    odd = b"\x15" + struct.pack("<f", 0.5) + b"\x0a\x01y"
    data = (
        piece("<unk>", 2) + piece("a") + piece(long) + b"\x0a" + varint(len(odd)) + odd + b"\x0a\x03\x0a\x01z"
    )
    parsed = parse_model(data, "here", "m")
    assert list(zip(parsed.texts, parsed.kinds, strict=True)) == [
        ("<unk>", 2), ("a", 1), (long, 1), ("y", 1), ("z", 1),
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("\n\x08\x0a\x0c\x15\x18\x00ab\u2581", max_size=140),
            st.sampled_from([None, 1, 2, 3, 4, 6]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_pieces_that_look_like_records_are_only_pieces(pieces: list[tuple[str, int | None]]) -> None:
    """Whatever bytes the strings have, the records are told apart by their lengths."""
    parsed = parse_model(b"".join(piece(text, kind) for text, kind in pieces), "here", "m")
    assert parsed.texts == tuple(text for text, _ in pieces)
    assert tuple(parsed.kinds) == tuple(kind or 1 for _, kind in pieces)


@pytest.mark.parametrize(
    "data", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"hello", b"\x0b\x00"]
)
def test_what_is_no_sentencepiece_model(data: bytes) -> None:
    """Empty, cut-off and foreign bytes are refused."""
    with pytest.raises(SourceError, match="not a sentencepiece model"):
        parse_model(data, "here", "m")


def test_tiktoken_ranks() -> None:
    """Tokens are written in GPT-2's signs; a line of another shape is refused with its number."""
    assert parse_tiktoken(b"IQ== 0\nIGE= 5\n", "here", "t") == {"!": 0, "\u0120a": 5}
    for bad in (b"IQ==\n", b"IQ== x\n", b"? 1\n", b"IQ== -1\n", b""):
        with pytest.raises(SourceError, match=r"line 1 of t|holds no token"):
            parse_tiktoken(bad, "here", "t")


def test_safetensors_shapes(tmp_path: Path) -> None:
    """A header longer than the first read is read to its end."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    tensors = {f"layer.{i}.{'x' * 50}": torch.zeros(1, 2) for i in range(1000)}
    save_file({**tensors, "wte.weight": torch.zeros(7, 3)}, tmp_path / "model.safetensors")
    shapes = read_header(open_source(tmp_path), "model.safetensors")
    assert shapes["wte.weight"] == (7, 3)
    assert len(shapes) == 1001


def test_rows_of_named_matrices() -> None:
    """A tied head has the input's rows, an adapter's own file says what it brings."""
    shapes = {"model.embed_tokens.weight": (10, 4), "model.layers.0.w.weight": (10, 4)}
    rows = judge(shapes, "f", "causal", True, 10)
    assert (rows.input, rows.output, rows.tied) == (10, 10, True)
    rows = judge({**shapes, "lm_head.weight": (12, 4), "lm_head.bias": (12,)}, "f", "causal", True, 10)
    assert (rows.input, rows.output, rows.bias, rows.tied) == (10, 12, 12, False)
    assert judge(shapes, "f", "classifier", True, 10).output is None


def test_a_gguf_header_as_the_gguf_library_writes_it(tmp_path: Path) -> None:
    """Special ids, their strings, and the rows of both matrices."""
    gguf = pytest.importorskip("gguf")
    import numpy as np

    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "<pad>", "a"])
    writer.add_token_scores([0.0] * 5)
    writer.add_pad_token_id(3)
    writer.add_eos_token_id(2)
    writer.add_tensor("token_embd.weight", np.zeros((6, 8), np.float32))
    writer.add_tensor("output.weight", np.zeros((5, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_gguf(open_source(path), path.name)
    assert (header.n_tokens, header.input_rows, header.output_rows) == (5, 6, 5)
    state = read_repo(open_source(path))
    assert (state.pad, state.eos) == (Token("<pad>", 3), Token("</s>", 2))
    assert (state.input_rows, state.output_rows, state.n_tokens) == (6, 5, 5)
    for cut in (3, 20, 60, 200):
        (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(SourceError):
            read_gguf(open_source(tmp_path / "cut.gguf"), "cut.gguf")


def facts(
    config: dict[str, Any], generation: dict[str, Any] | None = None, major: str = "5"
) -> dict[str, Any]:
    text = json.dumps(generation) if generation is not None else ""
    return model_facts(
        JsonFile("config.json", config, "{}"), JsonFile("g", generation or {}, text), major
    ).fields


def test_an_absent_key_has_the_value_of_its_class() -> None:
    """T5's config class pads with 0 and ends with 1, GPT-2's has no pad; null written down stays null."""
    assert facts({"model_type": "t5"})["config_pad_id"] == 0
    assert facts({"model_type": "t5"})["config_eos_ids"] == (1,)
    assert facts({"model_type": "gpt2"})["config_pad_id"] is None
    assert facts({"model_type": "t5", "pad_token_id": None})["config_pad_id"] is None
    assert facts({"model_type": "no-such-model"})["config_pad_id"] is ABSENT


def test_the_text_config_is_found_where_it_is_nested() -> None:
    """Its path comes first, its vocabulary and BOS count, other modalities are left out."""
    config = {
        "model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "pad_token_id": 5,
        "text_config": {"model_type": "llama", "vocab_size": 99, "pad_token_id": 7, "bos_token_id": 1},
        "vision_config": {"model_type": "clip_vision_model", "pad_token_id": 8},
    }  # fmt: skip
    found = facts(config)
    assert found["text_config_pad_ids"] == (("text_config", 7),)
    assert (found["config_pad_id"], found["vocab_size"], found["head"]) == (5, 99, "causal")
    assert ("image_token_index", 32000) in found["config_token_ids"]


def test_without_a_generation_config_the_ids_are_the_models() -> None:
    """A causal model generates with its config's ids, a classifier with none."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "pad_token_id": 3,
        "eos_token_id": [2, 4],
    }
    assert facts(config)["generation_pad_id"] == 3
    assert facts(config)["generation_eos_ids"] == (2, 4)
    assert facts(config, {"eos_token_id": 2})["generation_pad_id"] is ABSENT
    assert (
        facts({**config, "architectures": ["LlamaForSequenceClassification"]})["generation_pad_id"] is ABSENT
    )


def test_every_fact_has_its_line(tmp_path: Path) -> None:
    """Of a key that comes twice the one with the value that counts, nested ones under their parent."""
    text = '{\n "text_config": {\n  "pad_token_id": 7\n },\n "x": "pad_token_id",\n "pad_token_id": 3\n}'
    (tmp_path / "config.json").write_text(text, "utf-8")
    file = load(open_source(tmp_path), "config.json")
    assert file.where("pad_token_id") == Location("config.json", "pad_token_id", 6)
    assert file.where("text_config", "pad_token_id") == Location("config.json", "text_config.pad_token_id", 3)
    assert file.where("gone") is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "declared", [None, "LlamaTokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "NoSuchTokenizer"]
)
@pytest.mark.parametrize(
    "model_type", [None, "llama", "gpt2", "qwen2", "gpt_neox", "mistral", "phi3", "bert", "no-such"]
)
def test_the_class_is_the_one_that_auto_tokenizer_picks(
    model_type: str | None, declared: str | None, tmp_path: Path
) -> None:
    """Every combination of a declared class and a config beside it, with a byte-level ``tokenizer.json``."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(
        models.BPE({t: i for i, t in enumerate(["<unk>", "<s>", "</s>", "<|endoftext|>", "a", "b"])}, [])
    )
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel()])
    raw.save(str(tmp_path / "tokenizer.json"))
    settings = {} if declared is None else {"tokenizer_class": declared}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "</s>"}), "utf-8")
    if model_type is not None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    except Exception:  # noqa: BLE001 - many types; a SourceError is ours for all of them
        with pytest.raises(SourceError):
            read_repo(open_source(tmp_path), major=MAJOR)
        return
    state = read_repo(open_source(tmp_path), major=MAJOR)
    assert state.tokenizer_class == type(tokenizer).__name__
    pad = tokenizer.special_tokens_map.get("pad_token")
    assert (None if state.pad is None else state.pad.text) == pad
    assert state.n_tokens == len(tokenizer)
    assert state.padding_side == tokenizer.padding_side


def test_the_class_tables_have_not_drifted() -> None:
    """``scripts/generate_defaults.py`` makes exactly these tables with the transformers that made them."""
    raw = json.loads((ROOT / "src/padfix/data/tokenizer_defaults.json").read_text("utf-8"))
    if raw["transformers"][MAJOR] != transformers.__version__:
        pytest.skip(f"the table is of {raw['transformers'][MAJOR]}, installed is {transformers.__version__}")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/generate_defaults.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reader_imports_neither_torch_nor_transformers() -> None:
    """Nor the tokenizers library: a repository's facts come from its bytes."""
    code = (
        "import sys; from padfix.read.repo import read_repo; "
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'sentencepiece') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_both_majors_have_tables() -> None:
    """Both know the classes of the well-known families."""
    for major, fast in (("4", "Fast"), ("5", "")):
        for name in ("LlamaTokenizer", "GPT2Tokenizer", "BertTokenizer", "T5Tokenizer"):
            assert defaults.tokenizer_class(major, name + fast) is not None
