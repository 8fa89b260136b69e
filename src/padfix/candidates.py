"""Which existing tokens may serve as pad, with the evidence for and against each.

`assess` is pure: a `TokenTable` (what reading a tokenizer gives, live or from files) goes in, candidates
with their evidence come out, best first within each rung. Both readers call it, so both give the same
answer. What speaks against a token because of the model (its rows, its EOS ids, its placeholder ids) is
judged in `padfix.strategies`, where the whole state is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from padfix.types import Candidate, Token

ModelKind = Literal["BPE", "WordPiece", "Unigram", "WordLevel", "other"]
Purpose = Literal["pad", "reserved", "modality"]

MAX_RESERVED: Final = 32  # Mistral-Nemo has 992 reserved tokens; more than this many are never looked at


class AddedToken(NamedTuple):
    """An entry of the tokenizer's added-token table, which is matched before the model runs."""

    text: str
    id: int
    special: bool = False
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class TokenTable:
    """A tokenizer's vocabulary and how it is reached, before any judgement.

    ``vocab`` maps every token string to its id, added tokens included. A reader that did not read the
    whole vocabulary (a 17 MB file over a network) leaves the uninteresting entries out: only strings
    that `interesting` accepts, and the special tokens, matter here. ``added`` too may leave out what is
    not asked for.
    """

    vocab: Mapping[str, int]
    added: tuple[AddedToken, ...] = ()
    model_kind: ModelKind = "other"
    byte_fallback: bool = False  # all 256 <0x..> tokens are there and the model uses them
    byte_level: bool = False  # every byte has a token, so nothing is unknown
    model_unk: str | None = None  # the model's own unk_token; None: it drops what it does not know
    folding: bool = False  # the normaliser folds case, width or accents
    template_ids: frozenset[int] = frozenset()  # ids that the post-processor puts around a text
    chat_templates: tuple[str, ...] = ()


# A special token is written between brackets: <pad>, [PAD], <|pad|>, <｜▁pad▁｜>, {pad}, __pad__, or as
# >>NAME<< (Falcon). Words of the name are split at anything that is not a letter or digit.
_BRACKETED: Final = re.compile(r"(?:[<\[{(].*[>\]})]|__.+__|>>.+<<)", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z]+|\d+")
_PAD_WORDS: Final = frozenset({"pad", "padding", "padtoken", "padid"})
_MODALITY: Final = frozenset(
    [
        "image",
        "images",
        "img",
        "video",
        "videos",
        "vision",
        "visual",
        "audio",
        "speech",
        "sound",
        "music",
        "patch",
        "frame",
        "pixel",
        "point",
        "box",
        "action",
        "motion",
        "depth",
        "codec",
        "mel",
        "vq",
    ]
)
_RESERVED_WORDS: Final = frozenset(
    ["reserved", "unused", "placeholder", "dummy", "spare", "filler", "extratoken", "notused", "madeupword"]
)
_NUMBERED_WORDS: Final = frozenset(["extra", "control", "special", "custom", "blank", "empty", "null"])
_MADE_UP: Final = re.compile(r"madeupword\d{4}")  # fairseq's filler to a multiple of eight
_FIRST: Final = frozenset(
    "<[{(_>m"
)  # every such name starts with one of these: most of a vocabulary ends here
_MIN_NAME: Final = 4  # <vq>
_MAX_NAME: Final = 64  # a longer string is text, not a name
_MAX_JUDGED: Final = 1 << 16  # names that are remembered, of 64 characters at most

# Where a family's users settled on a token that no pattern would rank first.
_CONVENTION: Final = {
    ">>SUFFIX<<": "Falcon's users pad with it (FastChat); a fill-in-the-middle marker that plain text never gives",
}
_FALCON_STYLE: Final = re.compile(r">>(?:PREFIX|SUFFIX|MIDDLE)<<")


def words(text: str) -> tuple[str, ...]:
    """The lower-case words of a token's name.

    >>> words("<|finetune_right_pad_id|>")
    ('finetune', 'right', 'pad', 'id')
    """
    return tuple(w.lower() for w in _WORD.findall(text))


def purpose(text: str) -> Purpose | None:
    """What the name of a token says that it is for, None where it says nothing.

    >>> [purpose(text) for text in ("<pad>", "<unused7>", "<|image_pad|>", "<s>", "pad")]
    ['pad', 'reserved', 'modality', None, None]
    """
    return purposes[text]


class _Purposes(dict[str, Purpose | None]):
    """The names that were judged: judging takes 2 µs, and the same ones come up in every repository."""

    def __missing__(self, text: str) -> Purpose | None:
        if not _MIN_NAME <= len(text) <= _MAX_NAME:
            return None
        if len(self) >= _MAX_JUDGED:
            self.clear()
        kind = self[text] = _judged(text)
        return kind


purposes: Final = _Purposes()  # `purpose` without a call, for those who ask for a thousand names


def _judged(text: str) -> Purpose | None:
    if _MADE_UP.fullmatch(text) or _FALCON_STYLE.fullmatch(text):
        return "reserved"
    if not _BRACKETED.fullmatch(text):
        return None
    name = words(text)
    found = set(name)
    if found & _MODALITY:
        return "modality"
    if found & _PAD_WORDS:
        return "pad"
    free = (
        found & _RESERVED_WORDS
        or (found & _NUMBERED_WORDS and any(w.isdigit() for w in name))
        or name == ("reg", "extra")
    )
    return "reserved" if free and name[:2] != ("extra", "id") else None


def names_a_pad(text: str) -> bool:
    """True for a bracketed token whose name says that it is a pad, of text and not of another modality.

    >>> [t for t in ("<pad>", "[PAD]", "<｜▁pad▁｜>", "pad", "<|image_pad|>", "<|fim_pad|>") if names_a_pad(t)]
    ['<pad>', '[PAD]', '<｜▁pad▁｜>', '<|fim_pad|>']
    """
    return purpose(text) == "pad"


def names_a_modality(text: str) -> bool:
    """True for a bracketed token whose name belongs to images, sound or another modality.

    >>> names_a_modality("<|vision_pad|>")
    True
    """
    return purpose(text) == "modality"


def names_a_reserve(text: str) -> bool:
    """True for a token whose name says that it was kept free: reserved, unused, placeholder, extra ...

    T5's ``<extra_id_N>`` are sentinels of its training and not free.

    >>> [t for t in ("<|reserved_special_token_7|>", "[control_768]", "<extra_id_0>") if names_a_reserve(t)]
    ['<|reserved_special_token_7|>', '[control_768]']
    """
    return purpose(text) == "reserved"


def interesting(text: str) -> bool:
    """True for a token string that `assess` looks at: a name that means pad, reserve or a modality.

    >>> interesting("<pad>"), interesting("house")
    (True, False)
    """
    return purpose(text) is not None


def emits_unk(table: TokenTable) -> bool | None:
    """Can ordinary text produce the unk token? None where the reader cannot tell.

    Byte fallback and byte-level alphabets have a token for everything; a BPE model without an unk
    token drops what it does not know.

    >>> emits_unk(TokenTable({}, model_kind="BPE", byte_fallback=True))
    False
    """
    if table.byte_fallback or table.byte_level:
        return False
    if table.model_kind == "other":
        return None
    return not (table.model_kind == "BPE" and table.model_unk is None)


def assess(
    table: TokenTable,
    *,
    unk: Token | None = None,
    eos: Token | None = None,
    declared: Token | None = None,
    wanted: Token | None = None,
) -> tuple[Candidate, ...]:
    """Every token that might serve as pad, best first within each kind, with evidence and refusals.

    ``declared`` is the token that the config names as pad, ``wanted`` the one that the caller named.

    >>> table = TokenTable({"<pad>": 10, "a": 0}, (AddedToken("<pad>", 10, special=True),), "BPE")
    >>> [(c.token.text, c.kind, c.safe) for c in assess(table)]
    [('<pad>', 'named', True)]
    """
    added = {entry.text: entry for entry in table.added}
    found: list[Candidate] = []

    def judge(
        token: Token, kind: Literal["config", "named", "reserved", "unk", "eos", "wanted"], *evidence: str
    ) -> None:
        refused = [*_refusals(token, table, added.get(token.text))]
        if kind in ("config", "wanted"):  # the other kinds are known by their names
            if unk is not None and token.id == unk.id:
                refused += _unk_refusals(table)
            elif token.text not in added and purpose(token.text) not in ("pad", "reserved"):
                refused.append("it is an ordinary entry of the vocabulary, which plain text produces")
        found.append(Candidate(token, kind, evidence, tuple(refused)))

    if wanted is not None and wanted.id is not None:
        judge(wanted, "wanted", "named by the caller")
    if declared is not None and declared.id is not None:
        judge(declared, "config", "the config declares it as its pad")
    names = [(text, purposes[text]) for text in table.vocab if text[:1] in _FIRST]
    pads = [Token(text, table.vocab[text]) for text, kind in names if kind == "pad"]
    for token in sorted(pads, key=_pad_rank):
        judge(token, "named", "its name says pad")
    reserves = [Token(text, table.vocab[text]) for text, kind in names if kind == "reserved"]
    for token in sorted(reserves, key=_reserve_rank)[:MAX_RESERVED]:
        judge(token, "reserved", _CONVENTION.get(token.text, "its name says that it was kept free"))
    if unk is not None and unk.id is not None:
        emitted = emits_unk(table)
        refused = [*_refusals(unk, table, added.get(unk.text)), *_unk_refusals(table)]
        evidence = ("no text can produce it: every byte has a token of its own",) if emitted is False else ()
        found.append(Candidate(unk, "unk", evidence, tuple(refused)))
    if eos is not None and eos.id is not None:
        found.append(Candidate(eos, "eos", ("the tokenizer's own EOS",)))
    return tuple(found)


def with_added(candidates: Iterable[Candidate], token: Token) -> tuple[Candidate, ...]:
    """The candidates after a new special token was added: in its place if its name says pad or reserve."""
    kept = tuple(candidates)
    if names_a_pad(token.text):
        new = Candidate(token, "named", ("its name says pad",))
    elif names_a_reserve(token.text):
        new = Candidate(
            token, "reserved", (_CONVENTION.get(token.text, "its name says that it was kept free"),)
        )
    else:
        return kept
    if any(c.token == token and c.kind == new.kind for c in kept):
        return kept
    before = [c for c in kept if c.kind in ("wanted", "config")]
    named = [c for c in (*kept, new) if c.kind == "named"]
    reserved = [c for c in (*kept, new) if c.kind == "reserved"]
    after = [c for c in kept if c.kind in ("unk", "eos")]
    return (
        *before,
        *sorted(named, key=lambda c: _pad_rank(c.token)),
        *sorted(reserved, key=lambda c: _reserve_rank(c.token))[:MAX_RESERVED],
        *after,
    )


def _refusals(token: Token, table: TokenTable, entry: AddedToken | None) -> Iterable[str]:
    if names_a_modality(token.text):
        yield "its name belongs to another modality (image, audio, video), whose placeholder it may be"
    if token.id in table.template_ids:
        yield "the post-processor puts it around every text"
    if any(token.text in template for template in table.chat_templates):
        yield "the chat template uses it"
    if entry is not None and entry.normalized and table.folding:
        yield "it is matched after the normaliser folded the text, so other spellings produce it too"


def _unk_refusals(table: TokenTable) -> Iterable[str]:
    emitted = emits_unk(table)
    if emitted is None:
        yield "it is unk, and it is not known whether text can produce it"
    elif emitted:
        yield "it is unk, and ordinary text can produce it"


def _pad_rank(token: Token) -> tuple[int, int, str]:
    """Plainest name first (<pad> before <|finetune_right_pad_id|> before <fim_pad>), then highest id."""
    name = set(words(token.text))
    plain = 0 if name <= {"pad", "padding", "token", "id", "padtoken", "padid"} else 2 if "fim" in name else 1
    return (plain, -(token.id or 0), token.text)


def _reserve_rank(token: Token) -> tuple[int, int, str]:
    """The highest id first, since it is the least likely to be given a meaning later."""
    rank = 1
    if token.text[:1] == ">":  # as few do
        rank = 0 if token.text in _CONVENTION else 2 if _FALCON_STYLE.fullmatch(token.text) else 1
    return (rank, -(token.id or 0), token.text)
