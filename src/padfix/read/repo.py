"""The `PadState` of a repository from its small files and headers: what `inspect` gives for live objects.

Nothing is imported, unpickled or executed; torch and transformers are not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read import defaults
from padfix.read.configs import ModelFacts, as_int, model_facts
from padfix.read.files import TokenizerFiles, load_files
from padfix.read.gguf_header import read_gguf
from padfix.read.json_file import JsonFile, load
from padfix.read.rows import Rows, adapter_kind, read_rows
from padfix.read.source import Source
from padfix.read.tokenizer import backend_padding, build, facts, pad_role
from padfix.read.tokenizer_build import default_major
from padfix.types import Location, PadState, Token

# any of these makes a repository one with a tokenizer
_TOKENIZER: Final = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json",
    "tekken.json", "vocab-src.json", "source.spm", "prophetnet.tokenizer", "byte_maps.json",
)  # fmt: skip
_MODEL: Final = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "adapter_config.json",
)


def read_repo(source: Source, *, major: str | int | None = None, wanted: str | None = None) -> PadState:
    """Every fact about padding that a repository's files hold, as transformers of one major would see it.

    ``major`` is "4" or "5" (default: the installed one). ``wanted`` is a token string to look up as a
    candidate for the pad as well. What only part of the state depends on and cannot
    be read is named in ``problems``. Raises `SourceError` where the tokenizer cannot be known: it is the
    repository's own code, transformers could not load it either, or a file is damaged.

    >>> read_repo(open_source("checkpoint")).pad  # doctest: +SKIP
    Token(text='<pad>', id=0)
    """
    chosen = default_major(major)
    names = set(source.names())
    if not names & {*_TOKENIZER, *_MODEL} and not any(
        n.endswith((".model", ".gguf", ".safetensors")) for n in names
    ):
        if not names:
            raise SourceError(f"{source.name}: it holds no files")
        raise SourceError(f"{source.name}: none of its {len(names)} files is a tokenizer's or a model's")
    gguf = sorted(n for n in names if n.endswith(".gguf"))
    if gguf and not names & {"tokenizer.json", "tokenizer_config.json", "config.json"}:
        return _gguf_state(source, gguf[0])
    problems: list[str] = []
    config = load(source, "config.json")
    generation = load(source, "generation_config.json")
    model = model_facts(config, generation, chosen)
    rows = _rows(source, model, problems)
    values: dict[str, Any] = (
        dict(model.fields)
        if config
        else {
            k: model.fields[k] for k in ("generation_pad_id", "generation_eos_ids", "has_generation_config")
        }
    )
    values |= {
        "source": source.name,
        "has_model": bool(config) or rows.file is not None,
        "input_rows": rows.input,
        "output_rows": rows.output,
        "output_bias_rows": rows.bias,
        "other_rows": rows.others,
        "tied": rows.tied,
        "adapter": adapter_kind(source),
        "adapter_rows": rows.adapter,
    }
    files: TokenizerFiles | None = None
    if names & set(_TOKENIZER) or any(n.endswith((".model", ".tiktoken")) for n in names):
        files = load_files(source, chosen)
        values |= _tokenizer(files, config.data, chosen, model, wanted)
    elif not config:
        problems.append("there is no tokenizer and no config.json")
    else:
        problems.append("there are no tokenizer files")
    values["locations"] = tuple(_locations(config, generation, files))
    return PadState(**values, problems=tuple(problems))


def _tokenizer(
    files: TokenizerFiles, config: Mapping[str, Any], major: str, model: ModelFacts, wanted: str | None
) -> dict[str, Any]:
    built = build(files, config, major)
    declared = as_int(model.text_pad_id) if model.text_pad_id is not None else None
    values = facts(files, built, major, declared if config else None, wanted)
    values["backend_padding"] = backend_padding(files, built)
    values["pad_by_major"] = tuple(_pads(files, config, major, values["pad"]))
    return values


def _pads(
    files: TokenizerFiles, config: Mapping[str, Any], major: str, pad: Token | None
) -> Iterator[tuple[str, str | None]]:
    """The pad under each major; a major that cannot load the tokenizer is left out."""
    for other in defaults.MAJORS:
        if other == major:
            yield other, None if pad is None else pad.text
            continue
        try:
            role = pad_role(files, config, other)
        except SourceError:
            continue
        yield other, None if role is None else role.text


def _rows(source: Source, model: ModelFacts, problems: list[str]) -> Rows:
    """Row counts, or the reason why there are none: a damaged header must not hide the tokenizer's facts."""
    try:
        return read_rows(source, model.head, model.tie, model.fields["vocab_size"])
    except SourceError as error:
        problems.append(str(error).removeprefix(f"{source.name}: "))
        return Rows()


def _locations(
    config: JsonFile, generation: JsonFile, files: TokenizerFiles | None
) -> Iterator[tuple[str, Location]]:
    """Where each fact that findings speak of was written."""
    for field, key in (
        ("config_pad_id", "pad_token_id"),
        ("config_eos_ids", "eos_token_id"),
        ("config_bos_id", "bos_token_id"),
        ("vocab_size", "vocab_size"),
        ("architectures", "architectures"),
        ("model_type", "model_type"),
    ):
        if place := config.where(key):
            yield field, place
    for part, value in config.data.items():
        if isinstance(value, dict) and (place := config.where(part, "pad_token_id")):
            yield f"text_config_pad_ids.{part}", place
    for field, key in (("generation_pad_id", "pad_token_id"), ("generation_eos_ids", "eos_token_id")):
        if place := generation.where(key):
            yield field, place
    if files is None:
        return
    for role in ("pad", "eos", "unk", "bos"):
        key = f"{role}_token"
        mapped = "added_tokens_decoder" not in files.config.data and files.special_map.where(key)
        if place := mapped or files.config.where(key):
            yield role, place
    for field, key in (
        ("padding_side", "padding_side"),
        ("chat_template", "chat_template"),
        ("tokenizer_class", "tokenizer_class"),
    ):
        if place := files.config.where(key):
            yield field, place
    if files.json is not None and files.json.part("padding"):
        at = files.json.text.find('"padding"')
        yield (
            "backend_padding",
            Location(files.json.name, "padding", files.json.text.count("\n", 0, at) + 1 if at >= 0 else None),
        )


def _gguf_state(source: Source, name: str) -> PadState:
    """The state of a GGUF file that has no tokenizer files beside it."""
    header = read_gguf(source, name)
    tokens = {role: Token(header.texts.get(role, ""), i) for role, i in header.ids.items()}
    return PadState(
        source=source.name,
        has_model=True,
        tokenizer_class=None,
        pad=tokens.get("pad_token"),
        eos=tokens.get("eos_token"),
        unk=tokens.get("unk_token"),
        bos=tokens.get("bos_token"),
        n_tokens=header.n_tokens,
        max_id=None if not header.n_tokens else header.n_tokens - 1,
        chat_template=header.chat_template,
        input_rows=header.input_rows,
        output_rows=header.output_rows,
        quantized="gguf",
        locations=tuple(
            (role.removesuffix("_token"), Location(name, f"tokenizer.ggml.{role}_id")) for role in header.ids
        ),
        problems=("only the GGUF header was read: the file names no transformers tokenizer",),
    )
