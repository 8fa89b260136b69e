"""JSON files of an untrusted repository: bounded, typed, and with the line of every key.

The same files as transformers accept are accepted, and with the same meaning: of a key that is written
twice the last one counts, ``NaN`` is a number, a byte order mark is an error. An object is a ``dict`` and is
asked for as one: asking for a ``Mapping`` takes 250 ns instead of 40, and a read asks a hundred times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read.source import Source
from padfix.types import Location

MAX_SMALL: Final = 16 * 2**20  # bytes; the largest tokenizer_config.json known has 0.2 MB
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A JSON object, its text, and where it was read. A missing file is an empty one (falsy)."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    text: str = field(default="", repr=False)
    # a place and its line
    _counted: list[int] = field(default_factory=lambda: [0, 1], repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.text)

    def where(self, *keys: str) -> Location | None:
        """The place of a nested key, or None where the file does not hold it."""
        value: Any = self.data
        start = 0
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
            start = _find(self.text, key, value, start)
        return Location(self.name, ".".join(keys), self._line(start) if start >= 0 else None)

    def _line(self, place: int) -> int:
        """The line of a place, counted from the last one asked for: they are close together, at the end of 180 kB."""
        known, line = self._counted
        between = self.text.count("\n", min(known, place), max(known, place))
        line += between if place >= known else -between
        self._counted[:] = place, line
        return line


def load(source: Source, name: str, limit: int = MAX_SMALL) -> JsonFile:
    """A JSON object from a file; an empty `JsonFile` where there is none.

    Raises `SourceError` for what is not UTF-8, not JSON, not an object, too large or too deep.
    """
    if name not in source.names():
        return JsonFile(name)
    text = decode(source.read(name, limit), source.name, name)
    data = parse(text, source.name, name)
    if not isinstance(data, dict):
        raise SourceError(f"{source.name}: {name} holds a JSON {_kind(data)} where an object belongs")
    return JsonFile(name, data, text)


def decode(data: bytes, source: str, name: str) -> str:
    """UTF-8 text without a byte order mark."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{source}: {name} is not UTF-8: byte {data[error.start]:#04x} at {error.start}"
        ) from error


def parse(text: str, source: str, name: str) -> Any:
    """The value of a JSON text, or `SourceError`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceError(f"{source}: {name} is not JSON: {error.msg} (line {error.lineno})") from error
    except RecursionError as error:
        raise SourceError(f"{source}: {name} is nested too deeply to be read") from error
    except ValueError as error:  # an integer of more than 4300 digits
        raise SourceError(f"{source}: {name} holds a number that is too large to be read") from error


def _find(text: str, key: str, value: Any, start: int) -> int:
    """Where ``key`` is written after ``start``: the last place whose value is this one.

    A key of the same name in a nested object is told apart by its value; where both are equal the
    line may be the other one's.
    """
    if start < 0:
        return -1
    plain = key.isidentifier() and key.isascii()  # which is written in one way only
    for written in (
        (f'"{key}"',) if plain else dict.fromkeys((json.dumps(key, ensure_ascii=False), json.dumps(key)))
    ):
        at = text.find(written, start)
        for _ in range(64):  # a hostile file may repeat a key a million times
            if at < 0:
                break
            end = at + len(written)
            while text[end : end + 1] in (" ", "\t", "\n", "\r") and end < len(text):
                end += 1
            if text[end : end + 1] == ":" and _starts_with(text, end + 1, value):
                return at
            at = text.find(written, at + 1)
    return -1


def _starts_with(text: str, start: int, value: Any) -> bool:
    while text[start : start + 1] in (" ", "\t", "\n", "\r") and start < len(text):
        start += 1
    if isinstance(value, dict):
        return text[start : start + 1] == "{"
    if isinstance(value, list):
        return text[start : start + 1] == "["
    if text[start : start + 1] in ("{", "["):
        return False
    try:
        found, _ = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return bool(found == value) or (found != found and value != value)


def _kind(value: object) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
