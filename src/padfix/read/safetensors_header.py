"""Tensor names and shapes from safetensors headers: eight bytes of length, then that much JSON, no weights."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from padfix.errors import SourceError
from padfix.read.json_file import decode, load, parse
from padfix.read.source import Source

MAX_HEADER: Final = 100_000_000  # bytes, the format's own limit
_FIRST: Final = 64 * 1024  # one read is enough for a few hundred tensors
_MAX_SHARDS: Final = 4096

Shapes = Mapping[str, tuple[int, ...]]


def read_header(source: Source, name: str) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape of one file. Raises `SourceError` for what is no safetensors file."""
    start = source.range(name, 0, _FIRST)
    if len(start) < 8:
        raise SourceError(f"{source.name}: {name} has {len(start)} bytes, too few for a safetensors header")
    (length,) = struct.unpack("<Q", start[:8])
    if length > MAX_HEADER:
        raise SourceError(
            f"{source.name}: {name} declares a header of {length:,} bytes, more than {MAX_HEADER:,}"
        )
    size = source.size(name)
    if length + 8 > size:
        raise SourceError(f"{source.name}: {name} declares a header of {length:,} bytes and has {size:,}")
    raw = start[8 : 8 + length]
    if len(raw) < length:
        raw += source.range(name, 8 + len(raw), length - len(raw))
    header = parse(decode(raw, source.name, name), source.name, name)
    if not isinstance(header, dict):
        raise SourceError(f"{source.name}: the header of {name} is not a JSON object")
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor, entry in header.items():
        if tensor == "__metadata__":
            continue
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
            raise SourceError(f"{source.name}: the header of {name} gives {tensor[:60]!r} no shape")
        shapes[tensor] = tuple(shape)
    return shapes


def read_index(source: Source, name: str) -> dict[str, str]:
    """Tensor name -> shard of a sharded model."""
    weight_map = load(source, name).data.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise SourceError(f"{source.name}: {name} maps no tensors to files")
    if len(set(weight_map.values())) > _MAX_SHARDS:
        raise SourceError(f"{source.name}: {name} names more than {_MAX_SHARDS:,} files")
    return weight_map
