"""Which tokenizer class ``AutoTokenizer`` would pick: the same questions in the same order, per major.

The answer depends on ``config.json`` beside the tokenizer: without it, BERT's own files load as a bare
backend that has no pad.
"""

from __future__ import annotations

import fnmatch
import functools
import os.path
import re
from collections.abc import Mapping
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read import defaults

_BACKENDS: Final = ("TokenizersBackend", "PythonBackend", "PreTrainedTokenizerFast")


def pick(major: str, source: str, tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The name of the class; `SourceError` where there is none or only the repository's own code has it.

    ``config`` is empty where the repository has no ``config.json``.
    """
    table = defaults.tokenizers(major)
    resolve = _pick_5 if major == "5" else _pick_4
    name = resolve(table, source, tokenizer_config, config)
    if name not in table["classes"]:
        raise SourceError(f"{source}: the tokenizer class {name[:80]} is not one of transformers {major}'s")
    return name


def _name(value: Any, source: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise SourceError(f"{source}: tokenizer_class in {where} is not a name but {str(value)[:60]!r}")


def _auto_map(source: str, tokenizer_config: Mapping[str, Any]) -> list[Any] | None:
    """The repository's own tokenizer classes, slow and fast."""
    if "auto_map" not in tokenizer_config:
        return None
    raw = tokenizer_config["auto_map"]
    if isinstance(raw, dict):
        raw = raw.get("AutoTokenizer")
    if raw is None:
        return None
    if not isinstance(raw, list) or len(raw) < 2:
        raise SourceError(
            f"{source}: auto_map in tokenizer_config.json names no pair of classes: {str(raw)[:60]!r}"
        )
    return raw


def _has_own_tokenizer(tokenizer_config: Mapping[str, Any]) -> bool:
    raw = tokenizer_config.get("auto_map")
    return bool(raw.get("AutoTokenizer")) if isinstance(raw, dict) else raw is not None


def _known_config(table: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """True when AutoConfig builds a class of its own for this config without the repository's code."""
    kind = config.get("model_type")
    return isinstance(kind, str) and kind in defaults.configs(
        "5" if "TokenizersBackend" in table["classes"] else "4"
    )


def _remote(source: str, classes: list[Any]) -> SourceError:
    shown = next((c for c in reversed(classes[:2]) if isinstance(c, str)), "")
    return SourceError(
        f"{source}: its tokenizer is the repository's own code ({shown[:80]}), which is not run here; "
        "what its pad is cannot be known without running it"
    )


@functools.cache
def _backend_names() -> re.Pattern[str]:
    """Repositories that have the bare backend whatever they say; asking pattern by pattern takes ten times as long."""
    patterns = defaults.tokenizers("5")["backend_name_patterns"]
    return re.compile("|".join(fnmatch.translate(os.path.normcase(p)) for p in patterns))


@functools.cache
def _types_4() -> tuple[str, ...]:
    """The model types of transformers 4, the longest first."""
    return tuple(sorted(defaults.configs("4"), key=len, reverse=True))


def _pick_5(
    table: Mapping[str, Any], source: str, tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    aliases: Mapping[str, str] = table["aliases"]
    by_type: Mapping[str, str | None] = table["by_model_type"]
    wrong = table["incorrect_hub_class"]
    known = _known_config(table, config)
    kind = config.get("model_type") or ""
    if kind == "mistral" and "layer_types" in config:
        kind = "ministral"
    if not isinstance(kind, str):
        raise SourceError(f"{source}: model_type in config.json is not a name but {str(kind)[:60]!r}")
    model_name = config.get("model_name")
    marked_wrong = kind in wrong or (isinstance(model_name, str) and model_name in wrong)
    own = _name(tokenizer_config.get("tokenizer_class"), source, "tokenizer_config.json")
    declared = own or _name(config.get("tokenizer_class"), source, "config.json")
    remote = _auto_map(source, tokenizer_config)
    # a config of a known class forgets the path it was saved under and takes the one it is loaded from
    path = source if known else config.get("_name_or_path", source)
    path = path.lower() if isinstance(path, str) else ""
    if remote is None and _backend_names().match(os.path.normcase(path)):
        return "TokenizersBackend"
    registered = (by_type.get(kind) or "").removesuffix("Fast") if kind else ""
    if remote is None and declared is not None and registered and registered != declared.removesuffix("Fast"):
        if registered not in (*_BACKENDS, "MistralCommonBackend"):
            found = aliases.get(registered if marked_wrong else declared)
            if found is not None and found not in _BACKENDS:
                return found
        return "TokenizersBackend"
    if remote is not None and not (marked_wrong and kind in wrong):
        # with a class of its own beside it, transformers falls back to that one without asking
        local = own is not None and (aliases.get(own.removesuffix("Fast")) or aliases.get(own))
        if not local and not table["by_config"].get(kind if known else ""):
            raise _remote(source, remote)
    if own is not None:
        found = aliases.get(own.removesuffix("Fast")) or aliases.get(own)
        return "TokenizersBackend" if found in (None, "PythonBackend", "PreTrainedTokenizer") else str(found)
    if declared is not None:
        bare = declared if "PreTrainedTokenizerFast" in declared else declared.removesuffix("Fast")
        found = aliases.get(bare)
        if found is None:
            raise SourceError(
                f"{source}: config.json names the tokenizer class {declared[:80]!r}, which transformers lacks"
            )
        return found
    if known:
        if kind == "encoder-decoder" and isinstance(config.get("encoder"), dict):
            kind = str(config["encoder"].get("model_type", ""))
        picked = table["by_config"].get(kind)
        return str(picked) if picked else "TokenizersBackend"
    return "TokenizersBackend"


def byte_level_llama(
    table: Mapping[str, Any], name: str, tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]
) -> bool:
    """True when a declared LlamaTokenizer gives way to the bare backend if ``tokenizer.json`` is byte-level."""
    declared = tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class")
    kind = config.get("model_type") if isinstance(config.get("model_type"), str) else ""
    wrong = table["incorrect_hub_class"]
    return (
        isinstance(declared, str)
        and declared.removesuffix("Fast") == "LlamaTokenizer"
        and not _has_own_tokenizer(tokenizer_config)
        and (table["by_model_type"].get(kind) or "").removesuffix("Fast") != "MistralCommonBackend"
        and kind not in wrong
        and config.get("model_name") not in wrong
    )


def _pick_4(
    table: Mapping[str, Any], source: str, tokenizer_config: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    aliases: Mapping[str, str] = table["aliases"]
    declared = _name(tokenizer_config.get("tokenizer_class"), source, "tokenizer_config.json")
    remote = _auto_map(source, tokenizer_config)
    if "model_type" not in config and (declared is None or remote is not None):
        # transformers 4 then looks for a model type in the path itself, the longest first
        guessed = next((t for t in _types_4() if t in source), None)
        config = {**config, "model_type": guessed} if guessed is not None else config
    known = _known_config(table, config)
    kind = str(config.get("model_type", ""))
    if declared is None:
        if not known:
            raise SourceError(
                f"{source}: transformers 4 needs a tokenizer_class in tokenizer_config.json or a model_type in config.json "
                f"that it knows, and found {kind[:60]!r}"
            )
        own_class = defaults.configs("4")[kind].get("tokenizer_class")  # mT5's names T5's
        declared = _name(config.get("tokenizer_class", own_class), source, "config.json")
        own = config.get("auto_map")
        if isinstance(own, dict) and isinstance(own.get("AutoTokenizer"), list):
            remote = own["AutoTokenizer"]
    pair = table["by_config"].get(kind) if known else None
    if remote is not None:
        local = declared is not None and (aliases.get(declared) or aliases.get(f"{declared}Fast"))
        # the config was only loaded, and so only counts, where tokenizer_config.json names no class
        if not local and not (pair and tokenizer_config.get("tokenizer_class") is None):
            raise _remote(source, remote)
    if declared is not None:
        found = None if declared.endswith("Fast") else aliases.get(f"{declared}Fast")
        found = found or aliases.get(declared)
        if found is None:
            raise SourceError(f"{source}: transformers 4 has no tokenizer class {declared[:80]!r}")
        return found
    if kind == "encoder-decoder" and isinstance(config.get("encoder"), dict):
        pair = table["by_config"].get(str(config["encoder"].get("model_type", "")))
    slow, fast = pair or (None, None)
    if fast or slow:
        return str(fast or slow)
    raise SourceError(f"{source}: transformers 4 has no tokenizer for the model type {kind[:60]!r}")
