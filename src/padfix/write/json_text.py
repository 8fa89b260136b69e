"""Change a value of a JSON document and not one other byte of it.

A checkpoint's files are under version control and read by people: key order, indentation, line ends,
escapes and numbers stay as they were found, and a 17 MB ``tokenizer.json`` gets a diff of one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from padfix.errors import SourceError
from padfix.types import ABSENT

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_INDENT: Final = re.compile(r"[ \t]*")
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of an object, or an element of an array (``key`` None), as positions in the text."""

    key: str | None
    start: int  # of the key, or of the element
    value: int
    end: int


class JsonText:
    r"""A JSON object as text. `set` and `append` splice; everything else keeps its bytes.

    >>> doc = JsonText('{\n  "eos_token": "</s>",\n  "x": 1.0\n}\n', "tokenizer_config.json")
    >>> doc.set(("pad_token",), "<pad>")
    >>> print(doc.text, end="")
    {
      "eos_token": "</s>",
      "pad_token": "<pad>",
      "x": 1.0
    }
    """

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{name} cannot be changed, it is not readable JSON: {error}") from error
        if not isinstance(value, dict):
            raise SourceError(f"{name} cannot be changed, it holds no JSON object")

    def get(self, *path: str) -> Any:
        """The value at a path of keys, or `ABSENT`."""
        span = self._span(path)
        return ABSENT if span is None else _DECODER.raw_decode(self.text, span[0])[0]

    def set(self, path: tuple[str, ...], value: Any) -> None:
        """Set one key; its parent must be there. A new key goes where the others' order puts it, else last."""
        span = self._span(path)
        if span is not None:
            self._splice(span[0], span[1], self._dump(value, self._indent_at(span[0])))
            return
        parent = self._span(path[:-1])
        if parent is None or self.text[parent[0]] != "{":
            raise SourceError(
                f"{self.name} has no object at {'.'.join(path[:-1])!r}, so {path[-1]!r} cannot be set there"
            )
        self._insert(parent[0], path[-1], value, depth=len(path))

    def append(self, path: tuple[str, ...], value: Any) -> None:
        """Append to the array at a path."""
        span = self._span(path)
        if span is None or self.text[span[0]] != "[":
            raise SourceError(f"{self.name} has no array at {'.'.join(path)!r}")
        self._insert(span[0], None, value, depth=len(path) + 1)

    def _insert(self, start: int, key: str | None, value: Any, depth: int) -> None:
        members = list(_members(self.text, start))
        colon = self._colon()
        written = "" if key is None else json.dumps(key, ensure_ascii=self._ascii(key)) + colon
        if not members:
            end = _SPACE.match(self.text, start + 1).end()  # type: ignore[union-attr]
            inner, outer = self._line(depth), self._line(depth - 1)
            self._splice(start + 1, end, f"{inner}{written}{self._dump(value, inner)}{outer}")
            return
        lead = self.text[start + 1 : members[0].start]
        gap = lead if "\n" in lead else self._gap(members)
        text = written + self._dump(value, lead)
        at = _place(members, key)
        if at < len(members):
            self._splice(members[at].start, members[at].start, f"{text},{gap}")
        else:
            self._splice(members[-1].end, members[-1].end, f",{gap}{text}")

    def _gap(self, members: list[_Member]) -> str:
        """The white space after a comma of a document on one line."""
        if len(members) > 1:
            return self.text[members[0].end : members[1].start].partition(",")[2]
        return " " if self._colon().endswith(" ") else ""

    def _colon(self) -> str:
        first = next(_members(self.text, _SPACE.match(self.text).end()), None)  # type: ignore[union-attr]
        if first is None:
            return ": "
        key_end = _DECODER.raw_decode(self.text, first.start)[1]
        return self.text[key_end : first.value]

    def _line(self, depth: int) -> str:
        """A line break and the indentation of a depth, in the document's own style; empty for one line."""
        root = _SPACE.match(self.text).end()  # type: ignore[union-attr]
        first = next(_members(self.text, root), None)
        lead = "\n  " if first is None else self.text[root + 1 : first.start]
        if "\n" not in lead:
            return ""
        unit = lead.rpartition("\n")[2]
        return ("\r\n" if "\r\n" in lead else "\n") + unit * depth

    def _indent_at(self, position: int) -> str:
        """The line break and indentation of the line that a position is on."""
        start = self.text.rfind("\n", 0, position) + 1
        if start == 0:
            return ""
        end = _INDENT.match(self.text, start).end()  # type: ignore[union-attr]
        return ("\r\n" if self.text[start - 2 : start] == "\r\n" else "\n") + self.text[start:end]

    def _dump(self, value: Any, lead: str) -> str:
        """A value in the document's style: its indentation, or its separators where it is on one line."""
        escape = self._ascii(json.dumps(value, ensure_ascii=False))
        unit = self._line(1).rpartition("\n")[2]
        if "\n" in lead and unit and isinstance(value, (dict, list)):
            return json.dumps(value, ensure_ascii=escape, indent=unit).replace("\n", lead)
        colon = self._colon()
        comma = ", " if colon.endswith(" ") else ","
        return json.dumps(value, ensure_ascii=escape, separators=(comma, colon))

    def _ascii(self, new: str) -> bool:
        """True when characters outside ASCII must be written as escapes, as the document does."""
        if any(0xD800 <= ord(c) < 0xE000 for c in new):
            return True  # a lone surrogate has no UTF-8
        return self.text.isascii() and re.search(r"\\u(?!00[0-7])", self.text) is not None

    def _span(self, path: tuple[str, ...]) -> tuple[int, int] | None:
        """Start and end of the value at a path; of a key written twice the last counts, as in `json`."""
        start = _SPACE.match(self.text).end()  # type: ignore[union-attr]
        end = len(self.text.rstrip(" \t\r\n"))
        for key in path:
            if self.text[start] != "{":
                return None
            found = [m for m in _members(self.text, start) if m.key == key]
            if not found:
                return None
            start, end = found[-1].value, found[-1].end
        return start, end

    def _splice(self, start: int, end: int, new: str) -> None:
        self.text = self.text[:start] + new + self.text[end:]


def _members(text: str, start: int) -> Iterator[_Member]:
    """The members of the object, or the elements of the array, that starts at a position."""
    closing = "}" if text[start] == "{" else "]"
    at = _SPACE.match(text, start + 1).end()  # type: ignore[union-attr]
    while text[at] != closing:
        first, key = at, None
        if closing == "}":
            key, at = _DECODER.raw_decode(text, at)
            at = _SPACE.match(text, _SPACE.match(text, at).end() + 1).end()  # type: ignore[union-attr]
        end = _DECODER.raw_decode(text, at)[1]
        yield _Member(key, first, at, end)
        at = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        if text[at] == ",":
            at = _SPACE.match(text, at + 1).end()  # type: ignore[union-attr]


def _place(members: list[_Member], key: str | None) -> int:
    """Where a new key goes: in order among sorted keys, else at the end."""
    keys = [m.key or "" for m in members]
    if key is None or len(keys) < 2 or keys != sorted(keys):
        return len(members)
    return sum(other < key for other in keys)
