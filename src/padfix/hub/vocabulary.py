"""Which file holds the vocabulary that a tokenizer's class reads, and which of its ends tells the most.

The answer only says where to look: what is found there is what counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from padfix.errors import SourceError
from padfix.hub.complete import Completed
from padfix.hub.complete_vocab import complete_lines, complete_object, complete_pieces
from padfix.read import auto_class, defaults
from padfix.read.tokenizer_build import ROLES, default_major

End = Literal["head", "tail"]
Ends: TypeAlias = tuple[tuple[End, int], ...]
_ONE: Final = 200_000  # bytes of a beginning; sorted by string, GPT-2's are past "<" at 3 %, past "[" at 25 %
_LAST: Final = 64 * 1024  # bytes of an end
_SETTINGS: Final = 48 * 1024  # of a sentencepiece model: 12 kB in Mistral's; ALBERT's 238 kB are out of reach
_FAR: Final = 1000  # an id from here on is not at the beginning
_ORDER: Final = tuple(
    sorted(ROLES, key=lambda role: role not in ("pad_token", "eos_token", "unk_token", "bos_token"))
)
_MAIN: Final = 4
_KEYS: Final = ("vocab_file", "vocab", "src_vocab_file")  # of a class's files; Marian has "vocab"


@dataclass
class Wanted:
    """The vocabulary file of a tokenizer, the strings that must be found in it, and what was read of it.

    ``written``: ids that other files give to added tokens; ``after``: in added_tokens.json, which holds those
    beyond the vocabulary alone. ``placed``: the class obeys them.
    """

    file: str
    strings: tuple[str, ...] = ()
    written: Mapping[str, int] = field(default_factory=dict)
    after: bool = False  # those tokens come after the vocabulary and are not in it
    placed: bool = False
    pad_far: bool = False  # the config says that the pad is not at the beginning
    bound: int | None = None
    named: bool = True  # False: which special tokens there are is said by the sentencepiece model
    read: dict[End, bytes] = field(default_factory=dict)
    _made: dict[int, Completed | None] = field(default_factory=dict, repr=False)  # by how many ends were read

    @classmethod
    def of(cls, source: str, names: Collection[str], files: Mapping[str, Mapping[str, Any]]) -> Wanted | None:
        """What a repository's class reads, by its small files (empty where they are not known)."""
        config, own = files["config.json"], files["tokenizer_config.json"]
        major = default_major(None)
        try:
            record = defaults.tokenizer_class(major, auto_class.pick(major, source, own, config)) or {}
        except SourceError:  # the reader will say it
            record = {}
        placed = record.get("kind", "tokenizers") != "tokenizers"
        if "tokenizer.json" in names and not placed:
            return cls("tokenizer.json")
        declared = record.get("files") or {}
        file = str(next((declared[key] for key in _KEYS if key in declared), ""))
        if not placed:
            file = next((n for n in ("tokenizer.model", "tiktoken.model") if n in names), file)
        if file not in names or not file.endswith((".json", ".txt", ".model")) or file == "tiktoken.model":
            return None
        said = dict(own) if "added_tokens_decoder" in own else {**own, **files["special_tokens_map.json"]}
        roles = {role: text_of(said[role]) for role in ROLES if role in said}
        undeclared = {"bos_token", "eos_token", "unk_token"} - roles.keys()
        strings = {**(record.get("roles") or {}), **roles}
        written, after = written_ids(own, files["added_tokens.json"]), "added_tokens_decoder" not in own
        pad, size = config.get("pad_token_id"), config.get("vocab_size")
        return cls(
            file=file,
            strings=tuple(dict.fromkeys(t for r in _ORDER if isinstance(t := strings.get(r), str))),
            written=written,
            after=after,
            placed=placed,
            pad_far=type(pad) is int and pad >= _FAR and not (after and strings.get("pad_token") in written),
            bound=size if type(size) is int else None,
            named=bool(record.get("rebuilds")) or placed or not undeclared,
        )

    def ends(self) -> Ends:
        """What to read first, and then, if strings are still missing."""
        if self.file.endswith(".model"):
            return (("head", _ONE), *(() if self.named else (("tail", _SETTINGS),)))
        if self.file.endswith(".txt"):
            return (("head", _ONE),)
        main = [text for text in self.strings[:_MAIN] if not (self.after and text in self.written)]
        far = [self.written.get(text, _FAR if text.startswith("<|") else 0) >= _FAR for text in main]
        last = self.pad_far or (bool(far) and all(far))
        return (("tail", _LAST), ("head", _ONE)) if last else (("head", _ONE), ("tail", _LAST))

    def rest(self) -> Ends:
        """What may be read with requests that are left over."""
        return (("tail", _SETTINGS),) if self.file.endswith(".model") else ()

    def lacks(self, end: End) -> bool:
        """True when this end was not read and something that is wanted may be there."""
        if end in self.read:
            return False
        found = self.completed() if self.read else None
        if found is None or self.file.endswith(".model"):
            return True
        return any(text not in found.known for text in self.strings)

    def take(self, end: End, data: bytes) -> None:
        """Keep what was read."""
        self.read[end] = data

    def completed(self) -> Completed | None:
        """The file made whole of what was read."""
        if len(self.read) not in self._made:
            self._made[len(self.read)] = self._complete()
        return self._made[len(self.read)]

    def _complete(self) -> Completed | None:
        head, tail = self.read.get("head", b""), self.read.get("tail", b"")
        if self.file.endswith(".model"):
            return complete_pieces(head, tail, self.written, self.bound)
        if self.file.endswith(".txt"):
            return complete_lines(head, self.written, self.bound)
        return complete_object(head, tail, self.written, self.bound, placed=self.placed)


def text_of(token: Any) -> str | None:
    """A token's string, written as a string or as an object."""
    value = token.get("content") if isinstance(token, Mapping) else token
    return value if isinstance(value, str) else None


def written_ids(config: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, int]:
    """The ids that the small files write beside added tokens: the config's, or an older file's."""
    decoder = config.get("added_tokens_decoder")
    if not isinstance(decoder, Mapping):
        return {text: i for text, i in added.items() if type(i) is int and i >= 0}
    return {
        text: int(key)
        for key, entry in decoder.items()
        if key.isdecimal() and len(key) < 8 and (text := text_of(entry)) is not None
    }
