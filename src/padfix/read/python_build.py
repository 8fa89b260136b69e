"""Tokenizers written in Python: their vocabulary, and the ids that their added tokens get.

Unlike a Rust backend they keep the ids of ``added_tokens_decoder`` as written, and give a new token the
number of strings they have so far. Most read one ``vocab.json`` or ``vocab.txt``; the others are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read import defaults
from padfix.read.backend import Added, Backend
from padfix.read.fast_build import lines_of, read_vocabulary, refuse_elsewhere
from padfix.read.files import TokenizerFiles
from padfix.read.json_file import decode, parse
from padfix.read.sentencepiece_model import MAX_MODEL, parse_model
from padfix.read.source import is_whole
from padfix.read.tokenizer_build import (
    ROLES,
    Arguments,
    Built,
    arguments,
    combine,
    fill,
    in_order,
    side_of,
    token_of,
)
from padfix.read.vocab import DictVocab, Vocab

_CLS_SEP: Final = (["cls_token"], ["sep_token"])
# what a class puts around a text, as role names
_AROUND: Final[dict[str, tuple[list[str], list[str]]]] = {
    **dict.fromkeys(
        (
            "BertweetTokenizer", "PhobertTokenizer", "BertJapaneseTokenizer", "RoCBertTokenizer", "TapasTokenizer",
            "BertTokenizerLegacy", "FlaubertTokenizer", "XLMTokenizer", "BartphoTokenizer", "LukeTokenizer",
            "TapexTokenizer", "MLukeTokenizer",
        ),
        _CLS_SEP,
    ),
    **dict.fromkeys(
        (
            "ByT5Tokenizer", "MyT5Tokenizer", "MarianTokenizer", "SiglipTokenizer", "SpeechT5Tokenizer",
            "Speech2TextTokenizer", "PLBartTokenizer",
        ),
        ([], ["eos_token"]),
    ),
    "CanineTokenizer": _CLS_SEP,
    "PerceiverTokenizer": _CLS_SEP,
    "EsmTokenizer": (["cls_token"], ["eos_token"]),
    "FSMTTokenizer": ([], ["sep_token"]),
    "BioGptTokenizer": (["sep_token"], []),
    "ProphetNetTokenizer": ([], ["sep_token"]),
    "CpmTokenizer": ([], ["sep_token", "cls_token"]),
    "CpmAntTokenizer": (["bos_token"], []),
}  # fmt: skip


class PythonBackend(Backend):
    """Added tokens with their written ids; new ones after the number of strings.

    ``hides``: the class lists its vocabulary id by id, so an added token hides the string that had its id.
    ``once``: what is to be appended is settled before the first is, as in transformers 4.
    """

    def __init__(self, vocab: Vocab, *, hides: bool = False, once: bool = False) -> None:
        super().__init__(vocab)
        self._hides = hides
        self._once = once

    def place(self, tokens: Mapping[int, Added]) -> None:
        """Take tokens over at the ids that the repository or the class gives them."""
        for token_id, token in tokens.items():
            self._displace(token_id)
            self._ids[token.text] = token_id
            self._tokens[token_id] = token
            self._top = max(self._top, token_id)

    def _displace(self, token_id: int) -> None:
        """An id has one token: the one that had it before has none now."""
        previous = self._tokens.get(token_id)
        if previous is not None and self._ids.get(previous.text) == token_id:
            del self._ids[previous.text]

    def _hidden(self) -> set[str]:
        """The vocabulary's strings whose ids belong to other, added ones."""
        if not self._hides:
            return set()
        here = ((self.vocab.text_of(i), token.text) for i, token in self._tokens.items())
        return {own for own, text in here if own is not None and own != text}

    def count(self) -> int:
        """Distinct strings."""
        hidden = self._hidden()
        new = sum(1 for text in self._ids if text in hidden or self.vocab.get(text) is None)
        return self.vocab.strings - len(hidden) + new

    def length(self, *, count_repeats: bool) -> int:
        """Distinct strings: there are no repeated pieces."""
        return self.count()

    def next_id(self) -> int | None:
        """The id that a new token has: the number of strings, where no other has it."""
        count = self.count()
        return self.max_id + 1 if self.holes == 0 else count if count > self.max_id else None

    def append(self, tokens: list[Added]) -> None:
        """Add tokens after all strings, as ``_add_tokens`` does.

        The number of strings can be an id that another token has, which then has none. In 5 it takes the id back
        where its turn is later; in 4 only what is new at first has a turn.
        """
        if self._once:
            tokens = [token for token in tokens if token.text not in self._ids]
        index, hidden, before = self.count(), self._hidden(), dict(self._ids)
        for token in tokens:
            known = self._ids.get(token.text)
            if not token.text or (known is not None and self._tokens[known].text == token.text):
                continue
            token_id = before.get(token.text)
            if token_id is None:
                token_id = None if token.text in hidden else self.vocab.get(token.text)
            if token_id is None:
                token_id, index = index, index + 1
            self._displace(token_id)
            self._ids[token.text] = token_id
            self._tokens[token_id] = Added(token.text, True, token.normalized)
            self._top = max(self._top, token_id)

    def align(self) -> None:
        """Give every added token that is also in the vocabulary the vocabulary's id."""
        found = {}
        for token_id, token in self._tokens.items():
            own = self.vocab.get(token.text)
            found[token_id if own is None else own] = token
        self._tokens = found
        self._ids = {token.text: token_id for token_id, token in found.items()}
        self._top = max(found, default=-1)

    def remove(self, text: str) -> None:
        """Take an added token out again."""
        token_id = self._ids.pop(text, None)
        if token_id is not None:
            self._tokens.pop(token_id, None)
            self._top = max(self._tokens, default=-1)

    @property
    def holes(self) -> int:
        """Ids below the highest that no string has."""
        fresh = {i for i in self._ids.values() if not self.vocab.has_id(i)}
        # a base string whose added twin has another id no longer holds its own
        moved = {
            old for text, i in self._ids.items() if (old := self.vocab.get(text)) is not None and old != i
        } - set(self._ids.values())
        return self.max_id + 1 - self.vocab.ids - len(fresh) + len(moved)


def build_python(files: TokenizerFiles, name: str, major: str) -> Built:
    """A tokenizer without a Rust backend."""
    record = defaults.tokenizer_class(major, name) or {}
    args = arguments(files, major)
    for role in record.get("drops", ()):
        args.roles.pop(role, None)
    roles = fill(args, {**record, "normalized": record.get("kept_normalized", {})}, {})
    if major == "4":
        known = (*ROLES, *args.roles)  # a class's own others are no attributes of a Python tokenizer there
        roles = {role: token for role, token in roles.items() if token.text and role in known}
    if name == "GPTSw3Tokenizer":
        for role, text in (
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("bos_token", "<s>"),
        ):
            roles.setdefault(role, Added.named(text))
        order = [*ROLES, *(role for role in roles if role not in ROLES)]
        roles = {role: roles[role] for role in order if role in roles}
    extras = _extras(name, record, args, major, files.source)
    if name == "M2M100Tokenizer" and args.raw.get("additional_special_tokens", ()) is None:
        raise SourceError(f"{files.source}: additional_special_tokens is null, which {name} cannot take")
    if major == "4":
        refuse_elsewhere(args, record["files"], files.source)
    vocab = _vocabulary(files, name, record, args, roles, major)
    if name == "MarianTokenizer" and is_whole(files.repository, "vocab.json"):
        for role in ("unk_token", "pad_token") if major == "4" else ("unk_token",):
            if role not in roles or vocab.get(roles[role].text) is None:
                raise SourceError(f"{files.source}: its {role} is not in vocab.json, which {name} insists on")
    hides = bool(record.get("hides"))
    if name == "BertJapaneseTokenizer":  # only over a SentencePiece model
        hides = args.raw.get("subword_tokenizer_type") == "sentencepiece"
    backend = PythonBackend(vocab, hides=hides, once=major == "4")
    backend.place(_own(name, args, roles))
    backend.place(args.added)
    backend.append(in_order(roles, extras, major))
    if name == "BartphoTokenizer" and major == "5":
        backend.align()
    if name == "PLBartTokenizer" and major == "5":  # what the model has is none of the added ones
        for text in ("<s>", "<pad>", "</s>", "<unk>", "<mask>", *_plbart_languages(args)):
            backend.remove(text)
    if name == "CpmAntTokenizer":  # the file's names for a space and a line break are no tokens
        for role in ("space_token", "line_token"):
            if role in roles:
                backend.remove(roles[role].text)
    if major == "5":
        # tokens that were declared special beyond the named ones
        named = {t.text for t in (*roles.values(), *extras)}
        extras = [
            *extras,
            *(
                Added(e.text, True, e.normalized)
                for e in backend.entries
                if e.special and e.text not in named
            ),
        ]
    if name in ("Wav2Vec2CTCTokenizer", "Wav2Vec2Tokenizer"):
        backend.append([Added(text, False, False) for text, _ in vocab.items() if len(text) > 1])
    around = _AROUND.get(name, ([], []))
    prefix, suffix = ([roles[r].text for r in side if r in roles] for side in around)
    if name == "M2M100Tokenizer":
        language = args.raw.get("src_lang")
        prefix = [f"__{language if isinstance(language, str) else 'en'}__"]
        suffix = [roles["eos_token"].text] if "eos_token" in roles else []
    own = (record.get("arguments") or {}).get("do_lower_case")
    lower = own is not None and args.raw.get(
        "do_lower_case", own
    )  # only of a class that has such an argument
    return Built(
        cls=name,
        kind="python",
        roles=roles,
        extras=extras,
        backend=backend,
        side=side_of(args, record, {}, files.source)
        if name != "CpmAntTokenizer"
        else str(args.raw.get("padding_side", "left")),
        templates=args.chat_templates,
        chat_template=args.has_chat_template,
        prefix=prefix,
        suffix=suffix,
        folding=bool(lower),
    )


def _extras(name: str, record: Mapping[str, Any], args: Arguments, major: str, source: str) -> list[Added]:
    count = args.raw.get("extra_ids", (record.get("arguments") or {}).get("extra_ids", 0))
    if name in ("ByT5Tokenizer", "MyT5Tokenizer") and args.extras is None:
        number = min(count, 10_000) if isinstance(count, int) and not isinstance(count, bool) else 125
        return [Added.named(f"<extra_id_{i}>") for i in range(number)]
    if name == "PLBartTokenizer" and major == "4":
        languages = _plbart_languages(args)
        return [*map(Added.named, languages), *(t for t in args.extras or () if t.text not in languages)]
    if name in ("LukeTokenizer", "MLukeTokenizer") and major == "4":
        marks = (args.raw.get(f"entity_token_{n}", default) for n, default in ((1, "<ent>"), (2, "<ent2>")))
        return [*(args.extras or ()), *(token_of(mark, source, "entity_token") for mark in marks)]
    if name == "TapasTokenizer":
        given = list(args.extras or ())
        return given if any(t.text == "[EMPTY]" for t in given) else [*given, Added.named("[EMPTY]")]
    return combine(record, args.extras, "given")


def _plbart_languages(args: Arguments) -> tuple[str, ...]:
    return _PLBART["multi" if args.raw.get("language_codes") == "multi" else "base"]


def _own(name: str, args: Arguments, roles: Mapping[str, Added]) -> dict[int, Added]:
    """Tokens that a class puts at fixed ids before the repository speaks."""
    pad, eos, unk = (
        roles.get(r, Added.named(d))
        for r, d in (("pad_token", "<pad>"), ("eos_token", "</s>"), ("unk_token", "<unk>"))
    )
    if name in ("ByT5Tokenizer", "MyT5Tokenizer"):
        return {0: pad, 1: eos, 2: unk}
    if name == "DiaTokenizer":
        return {0: pad, 1: Added("[S1]", False, True), 2: Added("[S2]", False, True)}
    if name == "PerceiverTokenizer":
        order = ("pad_token", "bos_token", "eos_token", "mask_token", "cls_token", "sep_token")
        return {i: roles[r] for i, r in enumerate(order) if r in roles}
    return {}


def _vocabulary(
    files: TokenizerFiles,
    name: str,
    record: Mapping[str, Any],
    args: Arguments,
    roles: Mapping[str, Added],
    major: str,
) -> Vocab:
    maker = _MAKERS.get(name)
    if maker is not None:
        return maker(files, args, roles)
    vocab_file = record["files"].get("vocab_file")
    if name == "BertJapaneseTokenizer" and args.raw.get("subword_tokenizer_type") == "sentencepiece":
        return _pieces(files, record["files"]["spm_file"])
    if vocab_file is None:
        raise SourceError(f"{files.source}: how {name} builds its vocabulary is not known")
    if vocab_file.endswith(".model"):
        return _pieces(files, vocab_file)
    for key, needed in record["files"].items():
        if key == "tokenizer_config_file" or (key == "spm_file" and name == "BertJapaneseTokenizer"):
            continue
        if needed not in files.names and not needed.endswith(("tokenizer.json", "normalizer.json")):
            raise SourceError(f"{files.source}: its class {name} needs {needed}, and there is none")
    return read_vocabulary(files, vocab_file)


def _need(files: TokenizerFiles, name: str) -> str:
    if name not in files.names:
        raise SourceError(f"{files.source}: its tokenizer class needs {name}, and there is none")
    return name


def _piece_list(files: TokenizerFiles, name: str) -> list[str]:
    data = files.repository.read(_need(files, name), MAX_MODEL)
    return list(parse_model(data, files.source, name).texts)


def _pieces(files: TokenizerFiles, name: str) -> Vocab:
    model = parse_model(files.repository.read(_need(files, name), MAX_MODEL), files.source, name)
    return DictVocab({text: i for i, text in enumerate(model.listed)}) if model.listed else model.vocab


def _bytes(
    offset: int, *, plain: bool = True
) -> Callable[[TokenizerFiles, Arguments, Mapping[str, Added]], Vocab]:
    def make(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
        name = chr if plain else "{:02x}".format
        return DictVocab({name(i): i + offset for i in range(256)})

    return make


def _codepoints(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    """CANINE: every code point is a token."""
    return DictVocab({chr(i): i for i in range(0x110000)})


def _fairseq_lines(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    """PhoBERT and BERTweet: four special tokens, then a line per token with its count."""
    table = {
        roles[r].text: i
        for i, r in enumerate(("bos_token", "pad_token", "eos_token", "unk_token"))
        if r in roles
    }
    data = files.repository.read(_need(files, "vocab.txt"), MAX_MODEL)
    for number, line in enumerate(lines_of(decode(data, files.source, "vocab.txt")), 1):
        text, blank, _ = line.strip().rpartition(" ")
        if not blank:
            raise SourceError(f"{files.source}: line {number} of vocab.txt is not a token and its count")
        table[text] = len(table)
    return DictVocab(table)


def _bartpho(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    """BARTpho: special tokens, then the reduced dictionary's words, then the mask."""
    order = ("bos_token", "pad_token", "eos_token", "unk_token", "sep_token", "cls_token")
    named = {
        r: roles[r].text if r in roles else "None" for r in (*order, "mask_token")
    }  # null is a word there
    table = {text: i for i, text in enumerate(dict.fromkeys(named[r] for r in order))}
    data = files.repository.read(_need(files, "dict.txt"), MAX_MODEL)
    for number, line in enumerate(lines_of(decode(data, files.source, "dict.txt")), 1):
        words = line.split()
        if not words:
            raise SourceError(f"{files.source}: line {number} of dict.txt is empty")
        table[words[0]] = len(table)
    table.setdefault(named["mask_token"], len(table))
    if len(set(table.values())) < len(table) or max(table.values()) >= len(table):
        raise SourceError(f"{files.source}: dict.txt has a token twice, which transformers cannot load")
    return DictVocab(table)


def _aligned(pieces: list[str], behind: list[str]) -> DictVocab:
    """A SentencePiece model in fairseq's order: four special tokens, pieces shifted by one, and more behind."""
    first = {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>"}
    last = {len(pieces) + 1 + i: text for i, text in enumerate(behind)}
    fixed = first | last  # a small model's pieces end before the fourth place
    return DictVocab({fixed.get(i) or pieces[i - 1]: i for i in range(len(pieces) + 1 + len(behind))})


def _plbart(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    """PLBart: its languages after the pieces, and the mask where there are only three of them."""
    languages = _plbart_languages(args)
    mask = ["<mask>"] if languages == _PLBART["base"] else []
    return _aligned(_piece_list(files, "sentencepiece.bpe.model"), [*languages, *mask])


def _mluke(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    """mLUKE before transformers 5: the mask after the pieces."""
    _need(files, "entity_vocab.json")
    return _aligned(_piece_list(files, "sentencepiece.bpe.model"), ["<mask>"])


def _cpm_ant(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    """CPM-Ant: two names in the file stand for a space and a line break."""
    data = files.repository.read(_need(files, "vocab.txt"), MAX_MODEL)
    table = {line: i for i, line in enumerate(lines_of(decode(data, files.source, "vocab.txt")))}
    for key, name, meant in (("space_token", "</_>", " "), ("line_token", "</n>", "\n")):
        written = args.raw.get(key, name)
        if not isinstance(written, str) or written not in table:
            raise SourceError(f"{files.source}: vocab.txt has no {str(written)[:40]!r}, its class's {key}")
        table[meant] = table.pop(written)
    return DictVocab(table)


def _myt5(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    """MyT5: the bytes, and two maps of them."""
    data = files.repository.read(_need(files, "byte_maps.json"), MAX_MODEL)
    maps = parse(decode(data, files.source, "byte_maps.json"), files.source, "byte_maps.json")
    if not isinstance(maps, dict) or not {"decompose_map", "merge_map"} <= maps.keys():
        raise SourceError(f"{files.source}: byte_maps.json has no decompose_map and merge_map")
    return _bytes(3, plain=False)(files, args, roles)


def _source_vocabulary(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    languages = args.raw.get("langs")
    if not isinstance(languages, list) or len(languages) != 2:
        raise SourceError(f"{files.source}: langs in tokenizer_config.json is not a list of two languages")
    return read_vocabulary(files, _need(files, "vocab-src.json"))


def _marian(files: TokenizerFiles, args: Arguments, roles: Mapping[str, Added]) -> Vocab:
    for needed in ("source.spm", "target.spm"):
        _need(files, needed)
    return read_vocabulary(files, _need(files, "vocab.json"))


_MAKERS: Final[dict[str, Callable[[TokenizerFiles, Arguments, Mapping[str, Added]], Vocab]]] = {
    "ByT5Tokenizer": _bytes(3),
    "MyT5Tokenizer": _myt5,
    "CpmAntTokenizer": _cpm_ant,
    "MLukeTokenizer": _mluke,
    "PerceiverTokenizer": _bytes(6),
    "DiaTokenizer": _bytes(0),
    "CanineTokenizer": _codepoints,
    "PhobertTokenizer": _fairseq_lines,
    "BertweetTokenizer": _fairseq_lines,
    "FSMTTokenizer": _source_vocabulary,
    "MarianTokenizer": _marian,
    "BartphoTokenizer": _bartpho,
    "PLBartTokenizer": _plbart,
}
_PLBART: Final = {
    "base": ("__java__", "__python__", "__en_XX__"),
    "multi": ("__java__", "__python__", "__en_XX__", "__javascript__", "__php__", "__ruby__", "__go__"),
}
