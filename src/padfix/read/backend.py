"""The token table of a tokenizer as the ``tokenizers`` library would build it, without the library.

What matters is which id an added token gets: its own in the vocabulary, else the next one after both the
vocabulary's size and the highest id added in earlier calls. So one call with many tokens differs from many
calls where the vocabulary has holes, and an id can even be given twice. The ids written in ``tokenizer.json`` are not used by the
library either (a token written as 100277 comes back as 100261), so they are not used here.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final

from padfix.candidates import AddedToken
from padfix.read.vocab import Vocab

_FIELDS: Final = itemgetter("content", "special", "normalized")
_MAX_MADE: Final = 1 << 14  # tokens that are remembered, of 64 characters at most


@dataclass(slots=True, eq=False)
class Added:
    """A token to add: what ``tokenizers.AddedToken`` holds, as far as anything here depends on it.

    Never changed; not frozen, since making a frozen one takes four times as long, and Mistral has 1,000.
    """

    text: str
    special: bool = False
    normalized: bool = True
    plain: bool = False  # a bare string, whose flags the class decides
    unsaid: bool = False  # nobody said ``normalized``: it follows ``special``

    @classmethod
    def named(cls, text: str) -> Added:
        """A token known only by its string, added as a special one."""
        return cls(text, True, False, True)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], *, special: bool | None = None) -> Added | None:
        """The token of a JSON object, or None where it is not one."""
        return cls._of(
            raw.get("content"), raw.get("special") if special is None else special, raw.get("normalized")
        )

    @classmethod
    def all_from_json(cls, raws: Collection[Any]) -> list[Added | None]:
        """`from_json` of each, None for what is no object: a thousand at once take a third of the time."""
        try:
            return list(map(_MADE.__getitem__, map(_FIELDS, raws)))
        except (KeyError, TypeError):  # a field is missing or no value of its kind
            return [cls.from_json(raw) if type(raw) is dict else None for raw in raws]

    @classmethod
    def _of(cls, text: Any, special: Any, normalized: Any) -> Added | None:
        if not isinstance(text, str):
            return None
        unsaid = normalized is None
        return cls(text, bool(special), not special if unsaid else bool(normalized), False, unsaid)

    def as_special(self) -> Added:
        """The token made special, which takes away a normalisation that nobody asked for."""
        if self.special:
            return self
        return replace(self, special=True, normalized=self.normalized and not self.unsaid)


class _Made(dict[tuple[Any, Any, Any], "Added | None"]):
    """The tokens that were made of `_FIELDS`: both files of a repository and all of a family name the same ones."""

    def __missing__(self, fields: tuple[Any, Any, Any]) -> Added | None:
        token = Added._of(*fields)
        _, special, normalized = fields
        # nothing of a stranger's size is remembered
        if token is not None and len(token.text) <= 64 and type(special) is type(normalized) is bool:
            if len(self) >= _MAX_MADE:
                self.clear()
            self[fields] = token
        return token


_MADE: Final = _Made()


class Backend:
    """A vocabulary and the tokens added to it, in order."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self._ids: dict[str, int] = {}
        self._tokens: dict[int, Added] = {}
        self._new: dict[str, int] = {}  # those of them that the vocabulary does not have
        self._top = -1

    def add(self, tokens: Iterable[Added], *, special: bool = False) -> None:
        """Add tokens as ``Tokenizer.add_tokens`` does; ``special`` as ``add_special_tokens``."""
        following = max(self.vocab.size, self._top + 1)
        known, find = self._ids.get, self.vocab.get
        for token in tokens:
            text = token.text
            if not text:
                continue
            if special:
                token = token.as_special()
            token_id = known(text)
            if token_id is None:
                token_id = find(text)
            if token_id is None:
                token_id, following = following, following + 1
                self._new[text] = token_id
            self._ids[text] = token_id
            self._tokens[token_id] = token
            if token_id > self._top:
                self._top = token_id

    def get(self, text: str) -> int | None:
        """The id of a string, added or not."""
        known = self._ids.get(text)
        return self.vocab.get(text) if known is None else known

    def holds(self, texts: frozenset[str]) -> bool:
        """True when every one of these strings is there, added or not."""
        return self.vocab.holds(texts.difference(self._ids))

    def added(self, text: str) -> Added | None:
        """The added token of this string."""
        known = self._ids.get(text)
        return None if known is None else self._tokens.get(known)

    @property
    def entries(self) -> tuple[AddedToken, ...]:
        """The added tokens by id."""
        return self.entries_of({token.text for token in self._tokens.values()})

    def entries_of(self, texts: Container[str]) -> tuple[AddedToken, ...]:
        """The added tokens of these strings, by id: of Mistral's 1,000 only 70 are ever asked for."""
        ordered = ((self._tokens[i], i) for i in sorted(self._tokens))
        return tuple([AddedToken(t.text, i, t.special, t.normalized) for t, i in ordered if t.text in texts])

    @property
    def tokens(self) -> dict[str, Added]:
        """The added tokens by string."""
        return {token.text: token for token in self._tokens.values()}

    def text_of(self, token_id: int) -> str | None:
        """The string of an id."""
        token = self._tokens.get(token_id)
        return self.vocab.text_of(token_id) if token is None else token.text

    def length(self, *, count_repeats: bool) -> int:
        """Tokens: tokenizers 0.23 counts a piece that a Unigram file repeats twice, 0.22 once."""
        return (self.vocab.size if count_repeats else self.vocab.strings) + len(self._new)

    @property
    def max_id(self) -> int:
        """The highest id, -1 when there is none."""
        return max(self.vocab.max_id, self._top)

    @property
    def holes(self) -> int:
        """Ids below the highest that no token has."""
        fresh = {i for i in self._new.values() if not self.vocab.has_id(i)}
        return self.max_id + 1 - self.vocab.ids - len(fresh)

    def next_id(self) -> int | None:
        """The id that a new token has after save and reload, None where it would be another token's.

        Saving writes the added tokens in the order of their ids, and loading gives them ids anew.
        """
        start, count = self.vocab.size, len(self._new)
        found: int | None = start + count
        if len(self._tokens) != len(self._ids) or sorted(self._new.values()) != list(
            range(start, start + count)
        ):
            probe = "<|padfix-probe|>"
            again = Backend(self.vocab)
            again.add([*(self._tokens[i] for i in sorted(self._tokens)), Added.named(probe)])
            found = again.get(probe)
        return None if found is None or found in self._tokens or self.vocab.has_id(found) else found

    def table(self) -> dict[str, int]:
        """The strings that candidates are made of, and every added token."""
        return {**self.vocab.select(), **self._ids}
