"""Repositories as fine-tunes and older versions leave them: files give what AutoTokenizer gives.

One test for each cause that ``scripts/compare_saved.py`` found, each over a repository made for it.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from padfix.errors import SourceError
from padfix.read.live import inspect
from padfix.read.repo import read_repo
from padfix.read.source import open_source

pytestmark = pytest.mark.filterwarnings("ignore")
MAJOR = transformers.__version__.split(".")[0]
FIELDS = (
    "tokenizer_class", "pad", "eos", "unk", "bos", "specials", "n_tokens", "max_id", "holes", "next_id", "padding_side",
    "chat_template", "unk_emitted", "appends_eos", "backend_padding", "pad_uses", "candidates",
)  # fmt: skip
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
WORDS = ("a", "b", "ab", "c")
Files = dict[str, Any]


def write(folder: Path, files: Files) -> Path:
    """Each file: JSON of an object, a text, or bytes."""
    for name, content in files.items():
        data = content if isinstance(content, (str, bytes)) else json.dumps(content, ensure_ascii=False)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def agree(folder: Path, files: Files) -> Any:
    """The live tokenizer, after every field of it was compared with what the files say."""
    write(folder, files)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    live, read = inspect(None, tokenizer), read_repo(open_source(folder), major=MAJOR)
    names = [f for f in FIELDS if f != "pad_uses" or tokenizer.is_fast]
    assert {f: getattr(read, f) for f in names} == {f: getattr(live, f) for f in names}
    return tokenizer


def both_refuse(folder: Path, files: Files) -> None:
    """Neither transformers nor the reader makes a tokenizer of these files."""
    write(folder, files)
    with pytest.raises(Exception):  # noqa: B017 - transformers raises what it happens to raise
        transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    with pytest.raises(SourceError):
        read_repo(open_source(folder), major=MAJOR)


def word_piece(*special: str) -> Files:
    """A ``vocab.txt`` of BERT's family."""
    return {"vocab.txt": "".join(f"{w}\n" for w in (*special, *WORDS))}


def fast(*special: str, model: str = "BPE", added: tuple[str, ...] | None = None, **parts: Any) -> Files:
    """A ``tokenizer.json`` whose vocabulary begins with these tokens; ``added`` of them are declared."""
    table = {w: i for i, w in enumerate((*special, *WORDS))}
    following = len(table)
    entries = []
    for text in special if added is None else added:
        entries.append({"id": table.get(text, following), "content": text, **FLAGS})
        following += text not in table
    shape: dict[str, Any] = {"type": model, "vocab": table}
    if model == "BPE":
        shape["merges"] = ["a b"]
    elif model == "Unigram":
        shape |= {"vocab": [[w, -float(i)] for w, i in table.items()], "unk_id": table.get("<unk>", 0)}
    else:
        shape |= {"unk_token": special[0], "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    empty = dict.fromkeys(
        ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
    )
    return {"tokenizer.json": {"version": "1.0", **empty, "added_tokens": entries, "model": shape, **parts}}


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}  # fmt: skip


@pytest.mark.parametrize("name", ["ElectraTokenizer", "ElectraTokenizerFast", "LayoutLMTokenizer", "MobileBertTokenizer"])  # fmt: skip
def test_a_class_name_that_only_a_converter_knows(name: str, tmp_path: Path) -> None:
    """transformers 5 has no class for ELECTRA or LayoutLM and takes the one with the same converter: BERT's, with a pad."""
    files = {**fast(*BERT, model="WordPiece", normalizer=BERT_NORMALIZER), **word_piece(*BERT)}
    tokenizer = agree(tmp_path, {**files, "tokenizer_config.json": {"tokenizer_class": name}})
    assert tokenizer.pad_token == "[PAD]"


BYTES = "".join(chr(b) for b in range(33, 127))


def gpt2_files() -> Files:
    """GPT-2's two vocabulary files."""
    words = [*BYTES, "ab", "<|endoftext|>"]
    return {"vocab.json": {w: i for i, w in enumerate(words)}, "merges.txt": "#version: 0.2\na b\n"}


def test_from_slow_starts_from_the_slow_files(tmp_path: Path) -> None:
    """``from_slow`` in the config: transformers 4 converts vocab.json anew and leaves tokenizer.json, padding and all."""
    padding = {"strategy": {"Fixed": 8}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}  # fmt: skip
    config = {"tokenizer_class": "GPT2Tokenizer", "from_slow": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    files = {**fast("<pad>", pre_tokenizer=level, padding=padding), "tokenizer_config.json": config}
    tokenizer = agree(tmp_path, {**files, **gpt2_files()})
    assert (len(tokenizer) > 90) == (MAJOR == "4")


@pytest.mark.skipif(MAJOR != "4", reason="transformers 5 does not know from_slow")
def test_from_slow_without_slow_files_cannot_be_loaded(tmp_path: Path) -> None:
    """GPT-J's config says ``from_slow``; saved by transformers 5, it has no file that 4 could start from."""
    config = {"tokenizer_class": "GPT2Tokenizer", "from_slow": True}
    both_refuse(tmp_path, {**fast("<pad>"), "tokenizer_config.json": config})


def test_mt5_has_the_class_of_its_config(tmp_path: Path) -> None:
    """The config of mT5 names T5's tokenizer by default, in transformers 4 at least."""
    files = fast("<pad>", "</s>", "<unk>", model="Unigram")
    tokenizer = agree(tmp_path, {**files, "config.json": {"model_type": "mt5"}})
    assert type(tokenizer).__name__ == ("T5Tokenizer" if MAJOR == "5" else "T5TokenizerFast")


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "CTRLTokenizer"])
def test_named_extra_tokens_have_their_own_place(name: str, tmp_path: Path) -> None:
    """An ``extra_special_tokens`` object: its tokens come after the unnamed ones in 4; Python tokenizers have them too."""
    more = {"additional_special_tokens": ["<x>"], "extra_special_tokens": {"image_token": "<image>"}}
    files = gpt2_files() if name == "CTRLTokenizer" else fast("<pad>")
    files["tokenizer_config.json"] = {"tokenizer_class": name, **more}
    tokenizer = agree(tmp_path, files)
    assert tokenizer.image_token == "<image>"


@pytest.mark.parametrize("written", ["strings", "objects"])
def test_a_list_in_both_files_is_joined_as_written(written: str, tmp_path: Path) -> None:
    """Before ``added_tokens_decoder``: a token is in the list twice where one file wrote it as an object."""
    tokens: list[Any] = ["<x>", "<y>"]
    if written == "objects":
        tokens = [{"__type": "AddedToken", "content": text, **FLAGS} for text in tokens]
    files = fast("<pad>", "<x>", "<y>")
    files["tokenizer_config.json"] = {"tokenizer_class": "GPT2Tokenizer", "additional_special_tokens": tokens}
    agree(tmp_path, {**files, "special_tokens_map.json": {"additional_special_tokens": ["<x>", "<y>"]}})


def test_added_tokens_json_and_a_role_that_is_in_the_list(tmp_path: Path) -> None:
    """Slow files of before 4.34 with ChatML's tokens: transformers 4 takes the last added token for the last listed."""
    files = {
        **gpt2_files(),
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"},
        "added_tokens.json": {"<|im_end|>": 96, "<|im_start|>": 97},
        "special_tokens_map.json": {
            "eos_token": "<|im_end|>",
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        },
    }
    assert agree(tmp_path, files).eos_token == ("<|im_end|>" if MAJOR == "5" else "<|im_start|>")


@pytest.mark.parametrize("roles", [("cls_token",), ("sep_token",), ("cls_token", "sep_token")], ids="+".join)
def test_a_role_that_is_null_leaves_an_id_in_the_template(roles: tuple[str, ...], tmp_path: Path) -> None:
    """BERT's class of transformers 5 puts its usual ids around a text where the tokens are null."""
    order = (
        "[UNK]",
        "[CLS]",
        "[PAD]",
        "[MASK]",
        "[SEP]",
    )  # the pad has the usual id of CLS, the mask that of SEP
    files = {**fast(*order, model="WordPiece", normalizer=BERT_NORMALIZER), **word_piece(*order)}
    config = {"tokenizer_class": "BertTokenizer", **dict.fromkeys(roles)}
    agree(tmp_path, {**files, "tokenizer_config.json": config})
    agree(tmp_path, {"tokenizer_config.json": {**config, "pad_token": "[MASK]"}})


@pytest.mark.skipif(MAJOR != "5", reason="transformers 4 takes the post-processor of the file")
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("RobertaTokenizer", {"cls_token": None}),
        ("RobertaTokenizer", {"add_prefix_space": None}),
        ("T5Tokenizer", {"eos_token": None}),
        ("AlbertTokenizer", {"cls_token": "<nowhere>"}),
    ],
)
def test_what_a_class_cannot_do_without(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    """A class that builds its own template or pre-tokenizer fails without the token or the flag."""
    shape = "BPE" if name == "RobertaTokenizer" else "Unigram"
    files = fast("<pad>", "</s>", "<unk>", "<s>", "<mask>", "[CLS]", "[SEP]", "[MASK]", model=shape)
    agree(tmp_path, {**files, "tokenizer_config.json": {"tokenizer_class": name}})
    both_refuse(tmp_path, {"tokenizer_config.json": {"tokenizer_class": name, **config}})


def test_a_null_list_of_more_tokens(tmp_path: Path) -> None:
    """XLNet has two more special tokens unless the list is null, in transformers 4."""
    files = fast(
        "<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>", model="Unigram"
    )
    config = {"tokenizer_class": "XLNetTokenizer", "additional_special_tokens": None}
    agree(tmp_path, {**files, "tokenizer_config.json": config})


def model_file(kind: str = "unigram", **ids: int | str) -> bytes:
    """A SentencePiece model of a few words."""
    sentencepiece = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words of a little text", "and others"] * 20),
        model_writer=written,
        vocab_size=40,
        hard_vocab_limit=False,
        model_type=kind,
        minloglevel=2,
        **ids,
    )
    return written.getvalue()


@pytest.mark.skipif(MAJOR != "5", reason="only transformers 5 renames pieces")
def test_a_unigram_model_alone_with_added_tokens_cannot_be_loaded(tmp_path: Path) -> None:
    """A class of no vocabulary of its own over a Unigram model: it loads, and no longer once a token is added."""
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    agree(tmp_path, {"tokenizer.model": model_file(), "tokenizer_config.json": config})
    config["added_tokens_decoder"] = {"40": {"content": "<pad>", **FLAGS}}
    both_refuse(tmp_path, {"tokenizer_config.json": config})
    assert agree(tmp_path, {"tokenizer.model": model_file("bpe")}).get_vocab()["<pad>"] == 40


@pytest.mark.parametrize(
    ("name", "pad"),
    [("BartphoTokenizer", "[PAD]"), ("BartphoTokenizer", "</s>"), ("PLBartTokenizer", "</s>"), ("MarianTokenizer", "[PAD]"), ("MarianTokenizer", "</s>")],
)  # fmt: skip
def test_a_pad_of_the_fine_tune_in_a_python_tokenizer(name: str, pad: str, tmp_path: Path) -> None:
    """BARTpho makes a new pad the second of its vocabulary, PLBart drops its own added tokens, Marian insists on knowing it."""
    table = {text: i for i, text in enumerate(("</s>", "<unk>", "a", "<pad>"))}
    files: Files = {name: model_file() for name in ("sentencepiece.bpe.model", "source.spm", "target.spm")}
    files |= {"dict.txt": "a 5\nb 5\n", "vocab.json": table}
    config: dict[str, Any] = {"tokenizer_class": name, "pad_token": pad}
    if name == "BartphoTokenizer":  # an id that transformers 4 saved
        config["added_tokens_decoder"] = {"45": {"content": pad, **FLAGS}} if pad == "[PAD]" else {}
    if name == "MarianTokenizer" and pad == "[PAD]" and MAJOR == "4":
        both_refuse(tmp_path, {**files, "tokenizer_config.json": config})
    else:
        tokenizer = agree(tmp_path, {**files, "tokenizer_config.json": config})
        tokenizer.save_pretrained(tmp_path / "saved")
        agree(tmp_path / "saved", {})


@pytest.mark.skipif(MAJOR != "4", reason="in transformers 5 the files of the repository come first")
@pytest.mark.parametrize("path", [None, "/root/.cache/tokenizer.json"])
def test_a_config_that_names_its_tokenizer_file(path: str | None, tmp_path: Path) -> None:
    """``tokenizer_file`` of the config wins over the repository's: null starts from the slow files, a path must exist."""
    config = {"tokenizer_class": "GPT2Tokenizer", "tokenizer_file": path}
    files = {**fast("<pad>"), **gpt2_files(), "tokenizer_config.json": config}
    if path is None:
        assert len(agree(tmp_path, files)) > 90
    else:
        both_refuse(tmp_path, files)
    both_refuse(tmp_path, {"tokenizer_config.json": {**config, "tokenizer_class": "PreTrainedTokenizerFast"}})


@pytest.mark.skipif(MAJOR != "4", reason="in transformers 5 the files of the repository come first")
def test_a_config_that_names_its_vocabulary(tmp_path: Path) -> None:
    """``vocab_file`` of the config matters where a slow class reads it, and not beside a tokenizer.json."""
    config = {"tokenizer_class": "GPT2Tokenizer", "vocab_file": None}
    files = {**gpt2_files(), "tokenizer_config.json": config}
    agree(tmp_path, {**files, **fast("<pad>")})
    (tmp_path / "tokenizer.json").unlink()
    both_refuse(tmp_path, files)


def test_a_declared_token_that_is_gone(tmp_path: Path) -> None:
    """ByT5 with one of its added tokens missing: it gets an id that another has, which then has none."""
    decoder = {str(259 + i): {"content": f"<extra_id_{i}>", **FLAGS} for i in range(125) if i != 3}
    decoder |= {str(i): {"content": text, **FLAGS} for i, text in enumerate(("<pad>", "</s>", "<unk>"))}
    extra = [f"<extra_id_{i}>" for i in range(125)]
    config = {
        "tokenizer_class": "ByT5Tokenizer",
        "added_tokens_decoder": decoder,
        "additional_special_tokens": extra,
    }
    assert len(agree(tmp_path, {"tokenizer_config.json": config})) == 383


def test_pegasus_with_another_pad_forgets_the_added_tokens(tmp_path: Path) -> None:
    """Pegasus of transformers 4 rebuilds itself for another pad, and never reads ``added_tokens_decoder``."""
    decoder = {"150": {"content": "<new>", **FLAGS, "special": False}}
    config = {"tokenizer_class": "PegasusTokenizer", "pad_token": "[PAD]", "added_tokens_decoder": decoder}
    model = model_file(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    files = {"spiece.model": model, "tokenizer_config.json": config}
    tokenizer = agree(tmp_path, files)
    assert ("<new>" in tokenizer.get_vocab()) == (MAJOR == "5")


def test_a_list_of_objects_in_the_map(tmp_path: Path) -> None:
    """``special_tokens_map.json`` with objects and nothing that declares them: 4 makes tokens of them, 5 fails."""
    token = {"content": "<x>", **{k: v for k, v in FLAGS.items() if k != "special"}}
    files = {**fast("<pad>", "<x>"), "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"}}
    files["special_tokens_map.json"] = {"additional_special_tokens": [token]}
    (both_refuse if MAJOR == "5" else agree)(tmp_path, files)


@pytest.mark.parametrize("role", ["bos_token", "pad_token", "mask_token"])
def test_bartpho_makes_a_word_of_null(role: str, tmp_path: Path) -> None:
    """BARTpho writes the name of each role into its vocabulary, ``None`` as well."""
    files = {"sentencepiece.bpe.model": model_file(), "dict.txt": "a 5\nb 5\n"}
    config = {"tokenizer_class": "BartphoTokenizer", role: None}
    agree(tmp_path, {**files, "tokenizer_config.json": config})


@pytest.mark.skipif(MAJOR != "4", reason="transformers 5 has no slow tokenizers to convert")
def test_a_converter_cannot_do_without_its_tokens(tmp_path: Path) -> None:
    """BERT's converter in transformers 4 writes CLS and SEP into the template."""
    config = {"tokenizer_class": "ElectraTokenizer", "cls_token": None}
    both_refuse(tmp_path, {**word_piece(*BERT), "tokenizer_config.json": config})
    agree(tmp_path, {"tokenizer_config.json": {"tokenizer_class": "ElectraTokenizer"}})


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("name", ["DebertaV2Tokenizer", "AlbertTokenizer"])
def test_a_sentencepiece_model_and_a_lower_case_flag(name: str, lower: bool, tmp_path: Path) -> None:
    """The flag decides how a tokenizer made of a SentencePiece model folds text, as it does beside a tokenizer.json."""
    model = model_file(pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="[PAD]", unk_piece="[UNK]", bos_piece="[CLS]", eos_piece="[SEP]")  # fmt: skip
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    decoder = {"1": {"content": "[UNK]", **FLAGS, "normalized": True}}  # which folded text spells too
    config = {"tokenizer_class": name, "do_lower_case": lower, **names, "added_tokens_decoder": decoder}
    vocab_file = "spm.model" if name == "DebertaV2Tokenizer" else "spiece.model"
    agree(tmp_path, {vocab_file: model, "tokenizer_config.json": config})


@pytest.mark.skipif(MAJOR != "5", reason="transformers 4 forgets empty tokens")
def test_empty_roles_of_an_old_checkpoint(tmp_path: Path) -> None:
    """BOS, EOS and unk are empty strings, as LLaMA's first conversions have them: transformers 5 cannot find their ids."""
    files = fast("<pad>", "</s>", "<unk>", model="Unigram")
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "")
    both_refuse(tmp_path, {**files, "tokenizer_config.json": {"tokenizer_class": "T5Tokenizer", **roles}})
    config = {"tokenizer_class": "LLaMATokenizer", **roles}
    both_refuse(tmp_path, {**fast("<pad>"), "tokenizer_config.json": config})
    post = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    agree(tmp_path, fast("<pad>", post_processor=post))


def test_m2m100_and_a_null_list(tmp_path: Path) -> None:
    """M2M100 of transformers 4 looks its languages up in the list of more special tokens, and fails where that is null."""
    files = {"vocab.json": {t: i for i, t in enumerate(("<s>", "<pad>", "</s>", "<unk>", "a"))}}
    files["sentencepiece.bpe.model"] = model_file()
    agree(tmp_path, {**files, "tokenizer_config.json": {"tokenizer_class": "M2M100Tokenizer"}})
    config = {"tokenizer_class": "M2M100Tokenizer", "additional_special_tokens": None}
    (both_refuse if MAJOR == "4" else agree)(tmp_path, {"tokenizer_config.json": config})


def test_a_table_of_characters_folds_text_too(tmp_path: Path) -> None:
    """T5's class keeps the SentencePiece table that its tokenizer.json holds: a normalised pad has other spellings."""
    model = model_file(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    files = {"spiece.model": model, "tokenizer_config.json": {"tokenizer_class": "T5Tokenizer"}}
    tokenizer = agree(tmp_path, files)
    tokenizer.add_special_tokens({"pad_token": transformers.AddedToken("[PAD]", normalized=True)})
    tokenizer.save_pretrained(tmp_path / "saved")
    assert "Precompiled" in (tmp_path / "saved" / "tokenizer.json").read_text("utf-8")
    agree(tmp_path / "saved", {})


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
def test_a_pad_that_a_text_ends_without(files: str, tmp_path: Path) -> None:
    """CLIP of Stable Diffusion pads with "!", and text gives "!</w>": the pad is no ordinary piece of it."""
    words = ("!", "a", "!</w>", "a</w>", "<|startoftext|>", "<|endoftext|>")
    own = {text: i for i, text in enumerate(words)}
    slow: Files = {
        "vocab.json": own,
        "merges.txt": "#version: 0.2\na a</w>\n",
        "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "pad_token": "!"},
    }
    slow["vocab.json"] |= {"aa</w>": len(own)}
    tokenizer = agree(tmp_path, slow)
    if files == "tokenizer.json":
        (tmp_path / "saved").mkdir()
        tokenizer.save_pretrained(tmp_path / "saved")
        agree(tmp_path / "saved", {})
        tmp_path = tmp_path / "saved"
    state = read_repo(open_source(tmp_path), major=MAJOR)
    assert state.pad is not None and (state.pad.text, state.pad_uses) == ("!", ())
