"""The header of a GGUF model: its tokenizer's special ids and how many tokens and rows it has."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read.source import Source

_MAGIC: Final = b"GGUF"
_CHUNK: Final = 4 * 2**20
MAX_HEADER: Final = 256 * 2**20  # bytes; 262,144 tokens with scores and types take 8 MB
_MAX_KEYS: Final = 65_536
_MAX_TENSORS: Final = 65_536
_MAX_ITEMS: Final = 8_000_000
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_FORMATS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_IDS: Final = {
    "pad_token": "tokenizer.ggml.padding_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "bos_token": "tokenizer.ggml.bos_token_id",
}


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What padding needs of a GGUF file. ``ids`` and ``texts`` are by role (``pad_token`` ...)."""

    architecture: str | None
    ids: Mapping[str, int]
    texts: Mapping[str, str]
    n_tokens: int | None
    input_rows: int | None
    output_rows: int | None
    chat_template: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)


class _Reader:
    """Bytes from the beginning of a file, fetched in chunks as they are needed."""

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name
        self.size = source.size(name)
        self.data = b""
        self.base = 0  # file position of data[0]
        self.at = 0  # position in data

    def take(self, length: int) -> bytes:
        if length < 0 or self.base + self.at + length > min(self.size, MAX_HEADER):
            raise self.error(f"its header wants {length:,} bytes at {self.base + self.at:,} of {self.size:,}")
        if self.at + length > len(self.data):
            start = self.base + self.at
            self.data = self.source.range(self.name, start, max(length, _CHUNK))
            self.base, self.at = start, 0
            if len(self.data) < length:
                raise self.error("it ends within its header")
        found = self.data[self.at : self.at + length]
        self.at += length
        return found

    def skip(self, length: int) -> None:
        if length < 0 or self.base + self.at + length > min(self.size, MAX_HEADER):
            raise self.error(f"its header wants {length:,} bytes at {self.base + self.at:,} of {self.size:,}")
        self.at += length
        if self.at > len(self.data):
            self.base, self.at, self.data = self.base + self.at, 0, b""

    def number(self, kind: int) -> Any:
        return struct.unpack(_FORMATS[kind], self.take(_SIZES[kind]))[0]

    def text(self) -> str:
        return self.take(self.number(10)).decode("utf-8", "replace")

    def error(self, what: str) -> SourceError:
        return SourceError(f"{self.source.name}: {self.name} is not a readable GGUF file: {what}")


def read_gguf(source: Source, name: str) -> GgufHeader:
    """The header of a GGUF file. Raises `SourceError` where it is damaged or not one."""
    reader = _Reader(source, name)
    if reader.take(4) != _MAGIC:
        raise reader.error("it does not begin with GGUF")
    version = reader.number(4)
    if version not in (2, 3):
        raise reader.error(f"version {version} is not known")
    n_tensors, n_keys = reader.number(10), reader.number(10)
    if n_keys > _MAX_KEYS or n_tensors > _MAX_TENSORS:
        raise reader.error(f"it declares {n_keys:,} keys and {n_tensors:,} tensors")
    values: dict[str, Any] = {}
    tokens: dict[int, str] = {}
    n_tokens: int | None = None
    for _ in range(n_keys):
        key = reader.text()
        kind = reader.number(4)
        if key == "tokenizer.ggml.tokens":
            n_tokens = _tokens(reader, kind, tokens)
        elif (
            key.startswith(("tokenizer.ggml.", "general.architecture", "tokenizer.chat_template"))
            and kind != _ARRAY
        ):
            values[key] = _value(reader, kind)
        else:
            _skip(reader, kind, 0)
    ids = {role: v for role, key in _IDS.items() if type(v := values.get(key)) is int and 0 <= v < 2**31}
    rows = _rows(reader, n_tensors)
    texts = {role: tokens[i] for role, i in ids.items() if i in tokens}
    architecture = values.get("general.architecture")
    return GgufHeader(
        architecture=architecture if isinstance(architecture, str) else None,
        ids=ids,
        texts=texts,
        n_tokens=n_tokens,
        input_rows=rows.get("token_embd.weight"),
        output_rows=rows.get("output.weight", rows.get("token_embd.weight")),
        chat_template=bool(values.get("tokenizer.chat_template")),
        values={k: v for k, v in values.items() if not isinstance(v, str)},
    )


def _tokens(reader: _Reader, kind: int, tokens: dict[int, str]) -> int:
    """Count the vocabulary and keep its strings; they are short and needed for the special ids."""
    if kind != _ARRAY:
        raise reader.error("its vocabulary is not an array")
    inner, length = reader.number(4), int(reader.number(10))
    if inner != _STRING or length > _MAX_ITEMS:
        raise reader.error(f"its vocabulary declares {length:,} items of type {inner}")
    for i in range(length):
        tokens[i] = reader.text()
    return length


def _value(reader: _Reader, kind: int) -> Any:
    if kind == _STRING:
        return reader.text()
    if kind not in _SIZES:
        raise reader.error(f"value type {kind} is not known")
    value: Any = reader.number(kind)
    return value


def _skip(reader: _Reader, kind: int, depth: int) -> None:
    if kind == _STRING:
        reader.skip(reader.number(10))
    elif kind == _ARRAY:
        inner, length = reader.number(4), reader.number(10)
        if length > _MAX_ITEMS or depth > 3:
            raise reader.error(f"an array declares {length:,} items")
        if inner in _SIZES:
            reader.skip(_SIZES[inner] * length)
        else:
            for _ in range(length):
                _skip(reader, inner, depth + 1)
    elif kind in _SIZES:
        reader.skip(_SIZES[kind])
    else:
        raise reader.error(f"value type {kind} is not known")


def _rows(reader: _Reader, n_tensors: int) -> dict[str, int]:
    """Rows of the vocabulary matrices; GGUF writes the fastest dimension first."""
    rows: dict[str, int] = {}
    for _ in range(n_tensors):
        name = reader.text()
        dimensions = reader.number(4)
        if dimensions > 8:
            raise reader.error(f"the tensor {name[:60]!r} has {dimensions} dimensions")
        shape = [reader.number(10) for _ in range(dimensions)]
        reader.skip(4 + 8)
        if name in ("token_embd.weight", "output.weight") and shape:
            rows[name] = shape[-1]
    return rows
