"""How many rows the vocabulary matrices of a checkpoint have, by tensor names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from padfix.errors import SourceError
from padfix.read.json_file import load
from padfix.read.safetensors_header import read_header, read_index
from padfix.read.source import Source
from padfix.types import Head

_SINGLE: Final = ("model.safetensors", "pytorch_model.safetensors")
_INDEX: Final = "model.safetensors.index.json"
_ADAPTER: Final = "adapter_model.safetensors"
# the last parts of names, most telling first; (?:^|\.) keeps "my_lm_head" out
_INPUT: Final = tuple(
    re.compile(rf"(?:^|\.){name}$")
    for name in (
        r"embed_tokens\.weight", r"wte\.weight", r"word_embeddings\.weight", r"embed_in\.weight", r"tok_embeddings\.weight",
        r"shared\.weight", r"tokens_embed\.weight", r"word_embedding\.weight", r"token_embedding\.weight",
        r"backbone\.embeddings?\.weight", r"(?:model|rwkv|transformer)\.embeddings?\.weight", r"transformer\.w\.weight",
        r"embeddings?\.weight", r"input_embedding\.weight", r"w\.weight", r"emb(?:ed)?\.weight", r"embeddings\.tok_embeddings\.weight",
    )
)  # fmt: skip
_OUTPUT: Final = tuple(
    re.compile(rf"(?:^|\.){name}$")
    for name in (
        r"lm_head\.weight", r"embed_out\.weight", r"lm_head\.decoder\.weight", r"cls\.predictions\.decoder\.weight",
        r"predictions\.decoder\.weight", r"generator_lm_head\.weight", r"output_projection\.weight",
        r"vocab_projector\.weight", r"pred_layer\.proj\.weight", r"lm_loss\.weight", r"proj_out\.weight",
        r"decoder\.weight", r"(?:mlm_)?head\.weight", r"cls\.weight", r"output\.weight", r"lm_head\.out_proj\.weight", r"unembed\.weight",
    )
)  # fmt: skip
_BIAS: Final = re.compile(
    r"(?:^|\.)(?:lm_head|embed_out|predictions|decoder|proj|vocab_projector|lm_loss|generator_lm_head|(?:mlm_)?head|output|cls\.predictions)(?:\.decoder|\.proj|\.out_proj)?\.bias$|final_logits_bias$"
)
_IN_LAYER: Final = re.compile(r"\.\d+\.")  # a matrix of one layer is no vocabulary's
_OTHER_MODEL: Final = re.compile(
    r"(?:^|\.)(?:vision|visual|image|audio|speech|qformer|codec|vq|input_preprocessor)[a-z_]*\."
)
_WITH_HEAD: Final = ("causal", "masked", "seq2seq")


@dataclass(frozen=True, slots=True)
class Rows:
    """Row counts of a checkpoint's vocabulary matrices; None where there is no such matrix or it is not known."""

    file: str | None = None
    input: int | None = None
    output: int | None = None
    bias: int | None = None
    others: tuple[tuple[str, int], ...] = ()
    tied: bool | None = None
    adapter: tuple[tuple[str, int], ...] = ()


def read_rows(source: Source, head: Head | None, tie: bool, vocab_size: int | None) -> Rows:
    """The rows of ``model.safetensors``, of its shards, or of an adapter's own file.

    Only the shards that hold a vocabulary matrix are looked into: two or three of a hundred.
    """
    names = set(source.names())
    adapter = _adapter_rows(source) if _ADAPTER in names else ()
    single = next((n for n in _SINGLE if n in names), None)
    if single is not None:
        return judge(read_header(source, single), single, head, tie, vocab_size, adapter)
    if _INDEX not in names:
        return Rows(adapter=adapter)
    tensors = read_index(source, _INDEX)
    telling = [n for n in tensors if any(p.search(n) for p in (*_INPUT, *_OUTPUT)) or _BIAS.search(n)]
    wanted = sorted({tensors[n] for n in telling if not _OTHER_MODEL.search(n)})
    shapes: dict[str, tuple[int, ...]] = {}
    missing = [shard for shard in wanted if shard not in names]
    for shard in wanted[:8]:
        if shard in names and "/" not in shard:
            shapes |= read_header(source, shard)
    if missing and not shapes:
        raise SourceError(f"{source.name}: {_INDEX} names {missing[0][:80]}, which is not there")
    return judge(shapes, _INDEX, head, tie, vocab_size, adapter, every=tensors)


def judge(
    shapes: Mapping[str, tuple[int, ...]],
    file: str,
    head: Head | None,
    tie: bool,
    vocab_size: int | None,
    adapter: tuple[tuple[str, int], ...] = (),
    every: Mapping[str, object] | None = None,
) -> Rows:
    """Which tensors are the matrices, from their names and shapes."""
    del every
    tables = {n: s for n, s in shapes.items() if len(s) == 2 and not _OTHER_MODEL.search(n)}
    outputs = _matching(tables, _OUTPUT)
    inputs = [n for n in _matching(tables, _INPUT) if n not in outputs[:1]]
    entry = _prefer(inputs, tables, vocab_size)
    with_head = head in _WITH_HEAD or any(n.startswith("lm_head.") for n in shapes)
    # a head without an input embedding (Wav2Vec 2) gives the labels of sounds, not the tokens of a vocabulary
    with_head = with_head and entry is not None
    out = _prefer([n for n in outputs if n != entry], tables, vocab_size) if with_head else None
    input_rows = tables[entry][0] if entry is not None else None
    tied: bool | None = None
    output_rows: int | None = None
    if (twin := _decoder_twin(entry, inputs, tables)) is not None:
        entry, input_rows = twin[0], tables[twin[0]][0]
        if (
            with_head and out is None
        ):  # two vocabularies: the head shares the decoder's table, not the input's
            out = twin[1]
    if out is not None:
        output_rows, tied = tables[out][0], False if input_rows is not None else None
    elif with_head and tie and input_rows is not None:
        output_rows, tied = input_rows, True
    rows = {n for n in (input_rows, output_rows) if n is not None}
    biases = [
        s[-1] for n, s in shapes.items()
        if output_rows is not None and _BIAS.search(n) and s in ((output_rows,), (1, output_rows))
    ]  # fmt: skip
    others = tuple((n, s[0]) for n, s in tables.items() if s[0] in rows and n not in (entry, out))
    return Rows(file, input_rows, output_rows, min(biases, default=None), others, tied, adapter)


def _decoder_twin(
    entry: str | None, inputs: list[str], tables: Mapping[str, tuple[int, ...]]
) -> tuple[str, str] | None:
    """The encoder's and the decoder's own tables, where a model has one of each and no shared one."""
    encoders = [n for n in inputs if re.search(r"(?:^|\.)encoder\.", n)]
    decoders = [n for n in inputs if re.search(r"(?:^|\.)decoder\.", n) and tables[n][0] > 1]
    if entry is None or len(encoders) != 1 or len(decoders) != 1 or entry not in (*encoders, *decoders):
        return None
    return encoders[0], decoders[0]


def _matching(tables: Mapping[str, tuple[int, ...]], patterns: tuple[re.Pattern[str], ...]) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        found += [n for n in tables if n not in found and pattern.search(n) and not _IN_LAYER.search(n)]
    return found


def _prefer(names: list[str], tables: Mapping[str, tuple[int, ...]], vocab_size: int | None) -> str | None:
    """The first whose rows fit the vocabulary, else the one with the most rows."""
    if not names:
        return None
    exact = [n for n in names if tables[n][0] == vocab_size]
    return exact[0] if exact else max(names, key=lambda n: tables[n][0])


def _adapter_rows(source: Source) -> tuple[tuple[str, int], ...]:
    """The vocabulary matrices that an adapter brings along (``modules_to_save``, trained tokens)."""
    shapes = read_header(source, _ADAPTER)
    found = []
    for name, shape in sorted(shapes.items()):
        plain = name.replace(".modules_to_save", "").replace(".default", "").replace(".base_layer", "")
        if len(shape) == 2 and any(p.search(plain) for p in (*_INPUT, *_OUTPUT)) and "lora_" not in name:
            found.append((name, shape[0]))
    return tuple(found)


def adapter_kind(source: Source) -> str | None:
    """The kind of adapter (``lora`` ...) in this folder, from ``adapter_config.json``."""
    file = load(source, "adapter_config.json")
    kind = file.data.get("peft_type")
    return str(kind).lower()[:40] if file and isinstance(kind, str) else "unknown" if file else None
