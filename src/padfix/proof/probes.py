"""The inputs of the proof: a few short texts, laid out as rows with padding on either side.

A `Probe` is made once, before a write, and used again after it, so both passes see the same ids.

Two layouts, because "the text alone" costs differently:

* ``prefix``: a causal model never sees what follows a token, so a prefix of one full row is every shorter
  text alone. One mixed batch holds full rows, and rows of each pad length on each side.
* ``alone``: everything else (encoders, encoder-decoders, pooled heads) runs each text at its own length. Texts
  of five lengths (`RULER`) make five passes: each holds its own text without padding, and every shorter text
  padded to its length on either side, so that the differences between the lengths are the pad lengths:

      ======  ==============  ===================  ============
      width   own text        shorter texts: pads  position ids
      ======  ==============  ===================  ============
      40      40 (two texts)  1, 3, 32, 34         given
      39      39              2, 31, 33            given
      37      37              29, 31               left out
      8       8               2                    left out
      6       6, by itself                         left out
      ======  ==============  ===================  ============
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from padfix.proof.subject import Subject

TEXTS: Final = (
    "The quick brown fox jumps over the lazy dog while 42 grey geese fly south over the harbour, and "
    "nobody in the small town by the sea remembers a colder or a longer autumn than this one was.",
    "Im Frühjahr schmilzt der Schnee zuerst auf den Südhängen; l'été, naïve façade, ¿qué más? "
    "Москва, Αθήνα, 東京タワー, 서울, नमस्ते, مرحبا — 3.14159 × 2 = 6.28318, e-mail: a.b@c.de.",
    "def pad(x, n=0):\n    return [x] * n  # <0x0A> ÿ Ā Ġ ▁ pad [pad] </a> {unk}\n\tprint('eos', \"bos\")\n",
)
"""Ordinary text in several scripts, code, and single characters that byte-level vocabularies single out."""

PAD_LENGTHS: Final = (1, 3, 31, 32, 33)  # around 32, where kernels change their blocks, and two short ones
WIDTH: Final = 40
RULER: Final = (1, 3, 32, 34)
"""How much shorter than the widest the other texts of the ``alone`` layout are: with 0, all of `PAD_LENGTHS` are
differences, on the left with position ids too. No four lengths have all five as differences."""
RULER_OF_ONE: Final = (1, 3, 33)
"""The same for models of which one padded row must also be run by itself: 1, 3, 32, 33, and 31 in that row."""
_LEAST: Final = 3  # real tokens that a padded row keeps
_DECODER: Final = PAD_LENGTHS[-1] + _LEAST

Kind = Literal[
    "full", "right", "left", "counted", "open-right", "open-left", "suffix", "decoder-right", "decoder-left"
]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: real tokens with padding before and after them.

    ``counted``: positions count every place of the row, padding included. ``open``: the mask is all ones
    (the positive control). ``decoder``: an encoder-decoder's decoder tokens, padded likewise.
    """

    kind: Kind
    text: int
    tokens: tuple[int, ...]
    left: int = 0
    right: int = 0
    decoder: tuple[int, ...] = ()
    decoder_left: int = 0
    decoder_right: int = 0

    @property
    def width(self) -> int:
        """Places in the row, padding included."""
        return self.left + len(self.tokens) + self.right

    @property
    def pads(self) -> int:
        """Padded places."""
        return self.left + self.right

    @property
    def span(self) -> tuple[int, int]:
        """Where the real tokens start and stop."""
        return self.left, self.left + len(self.tokens)

    @property
    def decoder_span(self) -> tuple[int, int]:
        """Where the decoder's real tokens start and stop."""
        return self.decoder_left, self.decoder_left + len(self.decoder)

    @property
    def mask(self) -> list[int]:
        """1 at real tokens, 0 at padding; all ones in an open row."""
        off = 1 if self.kind.startswith("open") else 0
        return [off] * self.left + [1] * len(self.tokens) + [off] * self.right

    @property
    def decoder_mask(self) -> list[int]:
        """The same for the decoder."""
        return [0] * self.decoder_left + [1] * len(self.decoder) + [0] * self.decoder_right

    def ids(self, fill: Sequence[int], number: int) -> list[int]:
        """The row's ids, padded with the fill ids in turn; ``number`` is its place in the batch."""
        return _padded(self.tokens, self.left, self.right, fill, number)

    def decoder_ids(self, fill: Sequence[int], number: int) -> list[int]:
        """The decoder's ids, padded likewise."""
        return _padded(self.decoder, self.decoder_left, self.decoder_right, fill, number)

    def positions(self, offset: int) -> list[int]:
        """Position ids: the running count of real tokens, from ``offset``; padded places hold the least."""
        if self.kind == "counted":
            return [offset + place for place in range(self.width)]
        least = max(0, offset - 1)
        return _counted(self.tokens, self.left, self.right, offset, least)

    def decoder_positions(self) -> list[int]:
        """The same for the decoder, from 0."""
        return _counted(self.decoder, self.decoder_left, self.decoder_right, 0, 0)


def _counted(tokens: tuple[int, ...], left: int, right: int, offset: int, least: int) -> list[int]:
    return [least] * left + [offset + place for place in range(len(tokens))] + [least] * right


def _padded(tokens: tuple[int, ...], left: int, right: int, fill: Sequence[int], number: int) -> list[int]:
    pads = [fill[(5 * number + place) % len(fill)] for place in range(left + right)]
    return [*pads[:left], *tokens, *pads[left:]]


@dataclass(frozen=True, slots=True)
class Probe:
    """The material of all rows: two texts as ids, the template around them, and the widths that fit."""

    layout: Literal["prefix", "alone"]
    pooled: bool
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    bodies: tuple[tuple[int, ...], ...]
    fill: tuple[int, ...]  # ordinary ids for masked places
    eos: int | None  # ends the first text of a pooled model
    width: int
    least: int  # tokens of the shortest row: the template and a few real ones
    ruler: tuple[int, ...] = RULER
    decoder: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lengths(self) -> tuple[int, ...]:
        """Pad lengths of the mixed batch, shortest first."""
        wanted = PAD_LENGTHS if self.layout == "prefix" else self.ruler
        return tuple(n for n in wanted if self.width - n >= self.least) or (1,)

    def text(self, number: int, length: int) -> tuple[int, ...]:
        """Text ``number`` cut to ``length`` tokens, template included."""
        end = self.suffix
        if self.pooled and self.eos is not None and number == 0 and self.eos not in end:
            end = (*end, self.eos)
        body = self.bodies[number][: max(0, length - len(self.prefix) - len(end))]
        return (*self.prefix, *body, *end)[:length]

    def padded(self, side: str, pads: int) -> Row:
        """The row that has this many pads on this side."""
        place = self.lengths.index(pads)
        number = 0 if len(self.lengths) == 1 else (place + 1) % len(self.bodies)  # the texts in turn
        tokens = self.text(number, self.width - pads)
        at = {"left": pads} if side == "left" else {"right": pads}
        return Row("left" if side == "left" else "right", number, tokens, decoder=self.decoder, **at)

    def alone(self, row: Row) -> Row:
        """The same text with no padding."""
        return replace(row, kind="full", left=0, right=0)

    def full(self) -> tuple[Row, ...]:
        """Each text at full width."""
        return tuple(
            Row("full", n, self.text(n, self.width), decoder=self.decoder) for n in range(len(self.bodies))
        )

    def mixed(self) -> tuple[Row, ...]:
        """The batch that holds every kind of padded row at one width."""
        return tuple(self._mixed())

    def _mixed(self) -> Iterator[Row]:
        full = self.full()
        yield from full
        for side in ("right", "left"):
            for pads in self.lengths:
                yield self.padded(side, pads)
        most = self.longest
        yield replace(self.padded("left", most), kind="counted")
        yield replace(self.padded("right", most), kind="open-right")
        yield replace(self.padded("left", most), kind="open-left")
        if self.layout == "prefix":
            half = self.width // 2
            other = (full[1].tokens if len(full) > 1 else full[0].tokens[::-1])[half - self.width :]
            yield replace(full[0], kind="suffix", tokens=(*full[0].tokens[:half], *other))
        for pads in PAD_LENGTHS if self.decoder else ():
            short = self.decoder[: len(self.decoder) - pads]
            if len(short) >= _LEAST:
                yield replace(full[0], kind="decoder-right", decoder=short, decoder_right=pads)
                yield replace(full[0], kind="decoder-left", decoder=short, decoder_left=pads)

    @property
    def longest(self) -> int:
        """The longest pad length whose text has a reference."""
        return self.lengths[-1]

    def narrower(self, less: int) -> tuple[Row, ...]:
        """The batch that is narrower by one of `lengths`: the text of that width, and every shorter one padded to it."""
        return (
            self.alone(self.padded("right", less)),
            *(
                replace(row, left=row.left and row.left - less, right=row.right and row.right - less)
                for side in ("right", "left")
                for row in (self.padded(side, pads) for pads in self.lengths if pads > less)
            ),
        )


def make_probe(subject: Subject, texts: Sequence[str] | None) -> Probe:
    """Turn texts into a probe that fits the tokenizer and the model; deterministic.

    Where the texts encode to little but unknown or special tokens (a vocabulary of amino acids), or to ids
    that the model has no row for, ids are drawn from the tokenizer's ordinary vocabulary instead.
    """
    notes: list[str] = []
    pooled = subject.head == "classifier"
    prefix, suffix, encoded = _encode(subject.tok, texts or TEXTS)
    special = _special_ids(subject)
    rows = subject.rows
    every = [i for ids in encoded for i in ids]
    beyond = sorted({i for i in every if rows is not None and i >= rows})
    if beyond:
        notes.append(
            f"texts: the tokenizer gives ids up to {beyond[-1]} for ordinary text, but the model has {rows} rows; "
            "the two do not belong together, and ids were drawn from those that fit"
        )
    bodies = [[i for i in ids if i not in special and (rows is None or 0 <= i < rows)] for ids in encoded]
    ordinary = [i for body in bodies for i in body]
    if beyond or len(set(ordinary)) < 8 or 2 * len(ordinary) < len(every):
        ordinary = _drawn(subject, special)
        bodies = [ordinary, ordinary[::-1]]
        if not beyond:
            notes.append(
                "texts: they encode to little but unknown tokens, so ids were drawn from the vocabulary"
            )
    if rows is not None:
        prefix, suffix = (tuple(i for i in part if 0 <= i < rows) for part in (prefix, suffix))
    eos = subject.eos_id if subject.eos_id is not None and (rows is None or subject.eos_id < rows) else None
    if pooled and subject.seq2seq:  # BART and T5 pool at EOS and demand one in every row
        wanted = _one_id(getattr(subject.model.config, "eos_token_id", None))
        if wanted is not None and wanted not in suffix:
            suffix = (*suffix, wanted)
    width = max(_LEAST + 1, min(WIDTH, subject.limit))
    if 2 * (len(prefix) + len(suffix)) > width:  # more template than text
        prefix, suffix = (), ()
    joined = tuple(i for body in bodies for i in body)
    bodies_out = tuple(_cycle([*body, *joined], width) for body in bodies[:2])
    fill = tuple(dict.fromkeys(joined[::-1]))[:16]
    if eos is not None and not pooled:
        fill = (*fill[:7], eos, *fill[7:])
    decoder: tuple[int, ...] = ()
    if subject.seq2seq and not pooled:
        start = _one_id(getattr(subject.model.config, "decoder_start_token_id", None))
        decoder = ((joined[0] if start is None else start), *bodies_out[-1][: min(_DECODER, width) - 1])
    return Probe(
        layout="prefix" if _guess_causal(subject) and not pooled else "alone",
        pooled=pooled,
        prefix=prefix,
        suffix=() if _guess_causal(subject) and not pooled else suffix,
        bodies=bodies_out,
        fill=fill,
        eos=eos,
        width=width,
        least=_LEAST + len(prefix) + len(suffix),
        ruler=RULER_OF_ONE if subject.one_row_matters else RULER,
        decoder=decoder,
        notes=tuple(notes),
    )


def _guess_causal(subject: Subject) -> bool:
    """Is this a causal model? Only a guess for the layout: the suffix row of the first pass decides."""
    if subject.seq2seq or subject.head in ("masked", "token-classifier"):
        return False
    if subject.head == "causal":
        decoder = getattr(subject.model.config, "is_decoder", False)
        return bool(decoder) or subject.model_type not in _ENCODERS
    return any(getattr(module, "is_causal", False) is True for module in subject.model.modules())


# Encoders that have a causal class too; it is causal only with ``config.is_decoder`` (XLNet never).
_ENCODERS: Final = frozenset(
    {
        "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
        "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta",
        "xlm-roberta-xl", "xlnet", "xmod",
    }
)  # fmt: skip


def encode_all(tok: Any, texts: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """Encode texts with the tokenizer's own template; its padding and truncation state is put back."""
    backend: Any = getattr(tok, "_tokenizer", None)
    padding, truncation = getattr(backend, "padding", None), getattr(backend, "truncation", None)
    try:
        return tuple(tuple(tok(text, padding=False, truncation=False)["input_ids"]) for text in texts)
    finally:
        if padding is not None:
            backend.enable_padding(**padding)
        if truncation is not None:
            backend.enable_truncation(**truncation)


ENCODE_ERRORS = (
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    IndexError,
    NotImplementedError,
    AssertionError,
)
"""What tokenizers raise on a text that they cannot encode: slow classes of transformers and custom ones each have
their own (a method that is not implemented, an unk that is not in the vocabulary)."""


def _encode(tok: Any, texts: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...], list[list[int]]]:
    """The template's ids before and after a text, and the texts' own ids."""
    try:
        whole = encode_all(tok, texts)
    except ENCODE_ERRORS:  # a tokenizer of tables, boxes or audio: ids are drawn instead
        return (), (), []
    # A text of nothing but unknown tokens must not be taken for a template.
    special = set(getattr(tok, "all_special_ids", ())) - {getattr(tok, "unk_token_id", None)}
    filled = [ids for ids in whole if ids] or [()]
    start = _shared(filled, special)
    rest = [ids[start:] for ids in filled]
    stop = _shared([ids[::-1] for ids in rest], special)
    bodies = [list(ids[: len(ids) - stop]) for ids in rest]
    return filled[0][:start], rest[0][len(rest[0]) - stop :], bodies


def _shared(rows: Sequence[tuple[int, ...]], special: set[Any]) -> int:
    """How many special ids all rows start with."""
    count = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) != 1 or column[0] not in special:
            break
        count += 1
    return count


def _special_ids(subject: Subject) -> set[int]:
    tok = subject.tok
    ids = {i for i in getattr(tok, "all_special_ids", ()) if isinstance(i, int)}
    return ids | {int(i) for i in getattr(tok, "added_tokens_decoder", {})}


def _drawn(subject: Subject, special: set[int]) -> list[int]:
    """Ordinary ids in a fixed random order; any id of the model where the vocabulary leaves none."""
    vocabulary = (
        {i for i in subject.tok.get_vocab().values() if isinstance(i, int)}
        if subject.tok is not None
        else set()
    )
    fits = sorted(i for i in vocabulary if i >= 0 and (subject.rows is None or i < subject.rows))
    ordinary = [i for i in fits if i not in special] or fits or list(range(subject.rows or 1))
    random.Random(0).shuffle(ordinary)
    return ordinary[:256]


def _cycle(ids: Sequence[int], length: int) -> tuple[int, ...]:
    return tuple(ids[place % len(ids)] for place in range(length))


def _one_id(value: Any) -> int | None:
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
