"""Vocabularies from sentencepiece and tiktoken files, arranged as each tokenizer class arranges them.

Fairseq models keep their special tokens at other places than sentencepiece does, so a class moves, renames
or appends: XLM-R shifts every piece by one and ends with ``<mask>``, MBart adds its languages, Pegasus puts
103 places in front, T5 appends its sentinels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read import defaults
from padfix.read.backend import Added, Backend
from padfix.read.files import TokenizerFiles
from padfix.read.sentencepiece_model import CONTROL, MAX_MODEL, SentencePieceModel, parse_model
from padfix.read.tekken_file import MAX_TEKKEN, parse_tekken
from padfix.read.tiktoken_file import parse_tiktoken
from padfix.read.tokenizer_build import Arguments, Around, own_backend
from padfix.read.vocab import DictVocab

# prefix and suffix that transformers 4's converters give a slow tokenizer's backend: role names, or the token itself
_CLS_SEP: Final[tuple[list[str | int], list[str | int]]] = (["cls_token"], ["sep_token"])
_CONVERTED: Final[dict[str, tuple[list[str | int], list[str | int]]]] = {
    **dict.fromkeys(
        (
            "BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "FunnelTokenizer",
            "HerbertTokenizer", "LayoutLMTokenizer", "LayoutLMv2Tokenizer", "LxmertTokenizer", "MPNetTokenizer",
            "MobileBertTokenizer", "RealmTokenizer", "RetriBertTokenizer", "RoFormerTokenizer", "SplinterTokenizer",
            "SqueezeBertTokenizer", "DPRContextEncoderTokenizer", "DPRQuestionEncoderTokenizer", "DPRReaderTokenizer",
            "BartTokenizer", "RobertaTokenizer", "LongformerTokenizer", "LEDTokenizer", "MvpTokenizer",
            "LayoutLMv3Tokenizer", "MarkupLMTokenizer",
        ),
        _CLS_SEP,
    ),
    **dict.fromkeys(
        (
            "AlbertTokenizer", "BigBirdTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer", "FNetTokenizer",
            "RemBertTokenizer",
        ),
        (["[CLS]"], ["[SEP]"]),
    ),
    **dict.fromkeys(
        ("BarthezTokenizer", "CamembertTokenizer", "XLMRobertaTokenizer", "LayoutXLMTokenizer"), (["<s>"], ["</s>"])
    ),
    **dict.fromkeys(("T5Tokenizer", "UdopTokenizer"), ([], ["</s>"])),
    "BlenderbotTokenizer": ([], ["eos_token"]),
    "CLIPTokenizer": (["bos_token"], ["eos_token"]),
    "XGLMTokenizer": (["</s>"], []),
    "XLNetTokenizer": ([], ["<sep>", "<cls>"]),
    "PegasusTokenizer": ([], [1]),  # where Pegasus has its </s>, whatever the SentencePiece model says
}  # fmt: skip
_BYTE_LEVEL: Final = frozenset(
    "GPT2Tokenizer CodeGenTokenizer BartTokenizer RobertaTokenizer LongformerTokenizer LEDTokenizer MvpTokenizer "  # noqa: SIM905
    "BlenderbotTokenizer LayoutLMv3Tokenizer MarkupLMTokenizer DebertaTokenizer Qwen2Tokenizer WhisperTokenizer "
    "CLIPTokenizer".split()
)
BERT_LIKE: Final = frozenset(
    "BertTokenizer ConvBertTokenizer DistilBertTokenizer ElectraTokenizer FunnelTokenizer LayoutLMTokenizer "  # noqa: SIM905
    "LayoutLMv2Tokenizer LxmertTokenizer MPNetTokenizer MobileBertTokenizer RealmTokenizer RetriBertTokenizer "
    "RoFormerTokenizer SplinterTokenizer SqueezeBertTokenizer DPRContextEncoderTokenizer "
    "DPRQuestionEncoderTokenizer DPRReaderTokenizer".split()
)


def converted_template(slow: str) -> Around | None:
    """What the converter of a slow class of transformers 4 puts around a text: role names, tokens, fixed ids."""
    return _CONVERTED.get(slow)


def slow_components(slow: str, args: Arguments) -> dict[str, Any]:
    """The backend that transformers 4 converts a slow tokenizer with a vocabulary file to."""
    lower = bool(args.raw.get("do_lower_case", True))
    if slow in BERT_LIKE:
        model = {"type": "WordPiece", "unk_token": _text(args, "unk_token", "[UNK]")}
        return {"normalizer": {"type": "BertNormalizer", "lowercase": lower}, "model": model}
    if slow in ("OpenAIGPTTokenizer", "HerbertTokenizer"):
        lowercase = slow == "OpenAIGPTTokenizer"
        return {
            "normalizer": {"type": "BertNormalizer", "lowercase": lowercase},
            "model": {"type": "BPE", "unk_token": "<unk>"},
        }
    normalizer = (
        {"type": "Lowercase"}
        if slow == "CLIPTokenizer"
        else {"type": "NFC"}
        if slow == "Qwen2Tokenizer"
        else {}
    )
    pre = {"type": "ByteLevel"} if slow in _BYTE_LEVEL else {}
    own_unk = {"CLIPTokenizer": "<|endoftext|>", "MarkupLMTokenizer": _text(args, "unk_token", "<unk>")}
    return {
        "normalizer": normalizer,
        "pre_tokenizer": pre,
        "model": {"type": "BPE", "unk_token": own_unk.get(slow)},
    }


def _text(args: Arguments, role: str, default: str) -> str:
    token = args.roles.get(role)
    return default if token is None else token.text


def build(
    files: TokenizerFiles, vocab_file: str, name: str, record: Mapping[str, Any], args: Arguments, major: str
) -> tuple[Backend, dict[str, Any], list[Added]]:
    """A backend from ``*.model``: sentencepiece, or tiktoken where it is not that."""
    if vocab_file not in files.memo:
        data = files.repository.read(vocab_file, MAX_MODEL)
        if vocab_file == "tiktoken.model" or _looks_like_tiktoken(data):
            files.memo[vocab_file] = parse_tiktoken(data, files.source, vocab_file)
        else:
            files.memo[vocab_file] = parse_model(data, files.source, vocab_file)
    model = files.memo[vocab_file]
    if isinstance(model, dict):
        return _tiktoken(files, model, vocab_file, record, args, major)
    arranged = arrange(model, name, args, major)
    known: tuple[list[str], DictVocab] | None = files.memo.get("arranged")
    if arranged is not None and (known is None or known[0] != arranged):
        known = files.memo["arranged"] = arranged, DictVocab.listed(arranged)
    backend = Backend(model.vocab if arranged is None or known is None else known[1])
    marked = [
        Added(text, model.kinds[i] == CONTROL or (major == "4" and text in _TURNS), False)
        for i, text in model.declared
    ]
    kind = record.get("model") or model.kind
    components: dict[str, Any] = {
        "normalizer": {"type": "Precompiled"} if model.charsmap else {},
        "model": {
            "type": kind,
            "unk_token": model.unk_piece if kind == "BPE" else None,
            "byte_fallback": model.byte_fallback,
        },
    }
    if major == "4":
        backend.add(marked)
        own_bytes = name in ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
        components["model"]["byte_fallback"] = own_bytes
        lower = ((defaults.tokenizer_class("4", name) or {}).get("arguments") or {}).get(
            "do_lower_case", False
        )
        if own_bytes:
            components["normalizer"] = {}
        elif args.raw.get("do_lower_case", lower):
            components["normalizer"] = {"type": "Lowercase"}
        return backend, components, []
    if record.get("rebuilds"):
        own = own_backend(record, args)
        normalizer = own.get("normalizer") or {}
        if model.charsmap and name not in NO_CHARSMAP:
            normalizer = precompiled(normalizer)
        return backend, {**own, "normalizer": normalizer, "post_processor": {}}, marked
    if kind == "Unigram" and args.added:
        raise SourceError(
            f"{files.source}: {vocab_file} is a Unigram model and the tokenizer declares added tokens, which "
            f"transformers 5's {name} cannot be built from"
        )
    _rename_placeholders(backend, args)
    for role, number, piece in (
        ("bos_token", model.bos_id, model.bos_piece or "<s>"),
        ("eos_token", model.eos_id, model.eos_piece or "</s>"),
        ("unk_token", model.unk_id, model.unk_piece or "<unk>"),
    ):
        if number >= 0 and role not in args.roles:
            args.roles[role] = Added.named(piece)
    return backend, components, marked


def precompiled(normalizer: Mapping[str, Any]) -> dict[str, Any]:
    """A class's normaliser behind the table of characters of a SentencePiece model."""
    return {"type": "Sequence", "normalizers": [{"type": "Precompiled"}, normalizer]}


def build_tekken(files: TokenizerFiles, name: str, major: str) -> tuple[Backend, dict[str, Any], list[Added]]:
    """A backend from Mistral's ``tekken.json``."""
    if major == "4":
        raise SourceError(
            f"{files.source}: there is only {name}, of which transformers 4 makes a tokenizer whose special tokens "
            "have the ids of ordinary ones; load it with mistral-common or transformers 5"
        )
    if name not in files.memo:
        tekken = parse_tekken(files.repository.read(name, MAX_TEKKEN), files.source, name)
        files.memo[name] = tekken, DictVocab(tekken.table)
    tekken, vocab = files.memo[name]
    backend = Backend(vocab)
    backend.add((Added(text, True, False) for text in tekken.specials), special=True)
    level = {"type": "ByteLevel"}
    components = {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split"}, level]},
        "decoder": level,
        "model": {"type": "BPE", "unk_token": None, "byte_fallback": False},
        "post_processor": level,
    }
    return backend, components, []


_TURNS: Final = frozenset({"<start_of_turn>", "<end_of_turn>"})
# classes of transformers 5 that leave a SentencePiece model's own table of characters out
NO_CHARSMAP: Final = frozenset(
    "LlamaTokenizer CodeLlamaTokenizer GemmaTokenizer BarthezTokenizer BigBirdTokenizer DebertaV2Tokenizer MBartTokenizer "  # noqa: SIM905
    "LayoutXLMTokenizer SeamlessM4TTokenizer Siglip2Tokenizer UdopTokenizer MLukeTokenizer".split()
)


def arrange(model: SentencePieceModel, name: str, args: Arguments, major: str) -> list[str] | None:
    """The pieces in the order of a class's ids, None where a class takes them as they are."""
    record = defaults.tokenizer_class(major, name) or {}

    def role(key: str, fallback: str) -> str:
        token = args.roles.get(key)
        return token.text if token is not None else fallback

    bos, pad = role("bos_token", "<s>"), role("pad_token", "<pad>")
    eos, unk, mask = role("eos_token", "</s>"), role("unk_token", "<unk>"), role("mask_token", "<mask>")
    if name == "MBart50Tokenizer":
        bos = role("cls_token", "<s>")
    if major == "4":
        bos, pad, eos, unk, mask = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
    fairseq = (bos, pad, eos, unk)
    if name in ("XLMRobertaTokenizer", "LayoutXLMTokenizer"):
        return [*fairseq, *model.texts[3:], mask]
    if name in ("MBartTokenizer", "MBart50Tokenizer"):
        languages = record.get("extras") or (defaults.tokenizer_class("4", f"{name}Fast") or {}).get(
            "extras", ()
        )
        return [*fairseq, *model.texts[3:], *languages, mask]
    if name == "NllbTokenizer":
        if major == "4":
            return [*fairseq, *model.texts[3:]]
        return list(dict.fromkeys([*fairseq, *model.texts]))
    if name == "SeamlessM4TTokenizer":
        return ["<pad>", "<unk>", "<s>", "</s>", *model.texts[3:]]
    if name == "XGLMTokenizer" and major == "4":
        return [*fairseq, *model.texts[3:], *(f"<madeupword{i}>" for i in range(7))]
    if name == "CamembertTokenizer":
        return ["<s>NOTUSED", pad, "</s>NOTUSED", unk, "<unk>NOTUSED", *model.texts[1:], mask]
    if name in ("T5Tokenizer", "VideoPrismTokenizer", "MT5Tokenizer"):
        extra = args.raw.get("extra_ids", 100)
        count = min(extra, 10_000) if isinstance(extra, int) and not isinstance(extra, bool) else 100
        return [*model.texts, *(f"<extra_id_{i}>" for i in range(count - 1, -1, -1))]
    if name == "PegasusTokenizer":
        return _pegasus(model.texts, args, major)
    if name == "GemmaTokenizer" and major == "4":
        texts = list(model.texts)
        texts[:3] = [role("pad_token", "<pad>"), role("eos_token", "<eos>"), role("bos_token", "<bos>")]
        if "\t" not in texts and "<0x09>" in texts:
            texts[texts.index("<0x09>")] = "\t"
        return texts
    return None


def _pegasus(texts: Sequence[str], args: Arguments, major: str) -> list[str]:
    pad, eos = args.roles.get("pad_token"), args.roles.get("eos_token")
    head = [pad.text if pad else "<pad>", eos.text if eos else "</s>"]
    mask, sent = args.roles.get("mask_token"), args.raw.get("mask_token_sent")
    offset = args.raw.get("offset", 103)
    count = min(offset, 10_000) if isinstance(offset, int) and not isinstance(offset, bool) else 103
    if major == "4":
        marks = [sent if isinstance(sent, str) else "<mask_1>", mask.text if mask else "<mask_2>"]
    else:
        first = mask.text if mask else "<mask_1>"
        second = sent if isinstance(sent, str) else "<mask_2>"
        marks = list(dict.fromkeys([first, second]))
    return [*head, *marks, *(f"<unk_{i}>" for i in range(2, count)), *texts[2:]]


def _rename_placeholders(backend: Backend, args: Arguments) -> None:
    """A bare backend takes over the name that ``added_tokens_decoder`` gives an id of the model."""
    renamed: dict[int, str] = {}
    for token_id, token in args.added.items():
        current = backend.vocab.text_of(token_id)
        if current is not None and current != token.text and backend.vocab.get(token.text) is None:
            renamed[token_id] = token.text
    if renamed:
        table = {renamed.get(i, text): i for text, i in backend.vocab.items()}
        backend.vocab = DictVocab(table, backend.vocab.size)


def _looks_like_tiktoken(data: bytes) -> bool:
    line = data[:200].split(b"\n", 1)[0].split(b" ")
    return len(line) == 2 and line[1].strip().isdigit() and data[:1].isascii()


def _tiktoken(
    files: TokenizerFiles,
    ranks: dict[str, int],
    vocab_file: str,
    record: Mapping[str, Any],
    args: Arguments,
    major: str,
) -> tuple[Backend, dict[str, Any], list[Added]]:
    """Ranks as ids; tokens declared beyond them are appended, with placeholders for the ids between."""
    if major == "4" or record.get("rebuilds"):
        raise SourceError(
            f"{files.source}: {vocab_file} is a tiktoken file, which its class cannot be built from"
        )
    backend = Backend(DictVocab(ranks))
    size, top = len(ranks), max(args.added, default=0)
    if top > size + 100_000:
        raise SourceError(
            f"{files.source}: added_tokens_decoder declares the id {top}, and {vocab_file} has {size} tokens"
        )
    extras = [t.text for t in args.extras or ()]
    if top >= size:
        named = {i: t.text for i, t in args.added.items()}
        filled = [named.get(i, f"<|reserved_token_{i}|>") for i in range(size, top + 1)]
        extras = [*filled, *(t for t in extras if t not in set(filled))]
    backend.add((Added(t, True, False) for t in extras), special=True)
    level = {"type": "ByteLevel"}
    return (
        backend,
        {
            "pre_tokenizer": level,
            "decoder": level,
            "model": {"type": "BPE", "unk_token": None},
            "post_processor": level,
        },
        [],
    )
