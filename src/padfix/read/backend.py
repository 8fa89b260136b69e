"""The token table of a tokenizer as the ``tokenizers`` library would build it, without the library.

What matters is which id an added token gets: its own in the vocabulary, else the next one after both the
vocabulary's size and the highest id added in earlier calls. So one call with many tokens differs from many
calls where the vocabulary has holes, and an id can even be given twice. The ids written in ``tokenizer.json`` are not used by the
library either (a token written as 100277 comes back as 100261), so they are not used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from padfix.candidates import AddedToken
from padfix.read.vocab import Vocab


@dataclass(frozen=True, slots=True)
class Added:
    """A token to add: what ``tokenizers.AddedToken`` holds, as far as anything here depends on it."""

    text: str
    special: bool = False
    normalized: bool = True
    plain: bool = field(default=False, compare=False)  # a bare string, whose flags the class decides

    @classmethod
    def named(cls, text: str) -> Added:
        """A token known only by its string, added as a special one."""
        return cls(text, True, False, True)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], *, special: bool | None = None) -> Added | None:
        """The token of a JSON object, or None where it is not one."""
        text = raw.get("content")
        if not isinstance(text, str):
            return None
        is_special = bool(raw.get("special", False)) if special is None else special
        normalized = raw.get("normalized")
        return cls(text, is_special, not is_special if normalized is None else bool(normalized))


class Backend:
    """A vocabulary and the tokens added to it, in order."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self._ids: dict[str, int] = {}
        self._tokens: dict[int, Added] = {}
        self._top = -1

    def add(self, tokens: Iterable[Added], *, special: bool = False) -> None:
        """Add tokens as ``Tokenizer.add_tokens`` does; ``special`` as ``add_special_tokens``."""
        following = max(self.vocab.size, max(self._ids.values(), default=-1) + 1)
        for token in tokens:
            if not token.text:
                continue
            if special and not token.special:
                token = replace(token, special=True)
            token_id = self.get(token.text)
            if token_id is None:
                token_id, following = following, following + 1
            self._ids[token.text] = token_id
            self._tokens[token_id] = token
            self._top = max(self._top, token_id)

    def get(self, text: str) -> int | None:
        """The id of a string, added or not."""
        known = self._ids.get(text)
        return self.vocab.get(text) if known is None else known

    def added(self, text: str) -> Added | None:
        """The added token of this string."""
        known = self._ids.get(text)
        return None if known is None else self._tokens.get(known)

    @property
    def entries(self) -> tuple[AddedToken, ...]:
        """The added tokens by id."""
        return tuple(AddedToken(t.text, i, t.special, t.normalized) for i, t in sorted(self._tokens.items()))

    def text_of(self, token_id: int) -> str | None:
        """The string of an id."""
        token = self._tokens.get(token_id)
        return self.vocab.text_of(token_id) if token is None else token.text

    def _new(self) -> list[int]:
        return [i for text, i in self._ids.items() if self.vocab.get(text) is None]

    def length(self, *, count_repeats: bool) -> int:
        """Tokens: tokenizers 0.23 counts a piece that a Unigram file repeats twice, 0.22 once."""
        return (self.vocab.size if count_repeats else self.vocab.strings) + len(self._new())

    @property
    def max_id(self) -> int:
        """The highest id, -1 when there is none."""
        return max(self.vocab.max_id, self._top)

    @property
    def holes(self) -> int:
        """Ids below the highest that no token has."""
        fresh = {i for i in self._new() if not self.vocab.has_id(i)}
        return self.max_id + 1 - self.vocab.ids - len(fresh)

    def next_id(self) -> int | None:
        """The id that a new token has after save and reload, None where it would be another token's.

        Saving writes the added tokens in the order of their ids, and loading gives them ids anew.
        """
        probe = "<|padfix-probe|>"
        again = Backend(self.vocab)
        again.add([*(self._tokens[i] for i in sorted(self._tokens)), Added.named(probe)])
        found = again.get(probe)
        return None if found is None or found in self._tokens or self.vocab.has_id(found) else found

    def table(self) -> dict[str, int]:
        """The strings that candidates are made of, and every added token."""
        return {**self.vocab.select(), **self._ids}
