"""The small files beside a tokenizer, each read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read.json_file import MAX_SMALL, JsonFile, decode, load
from padfix.read.source import Source
from padfix.read.tokenizer_json import TokenizerJson, load_tokenizer_json

_VERSIONED: Final = re.compile(r"tokenizer\.(.*)\.json")
_MAX_TEMPLATES: Final = 64
_WRITERS: Final = {"4": (4, 57, 6), "5": (5, 23, 0)}


@dataclass(slots=True)
class TokenizerFiles:
    """What a repository says about its tokenizer, before any class is asked."""

    repository: Source
    source: str
    names: frozenset[str]
    config: JsonFile
    special_map: JsonFile
    added_map: JsonFile
    json: TokenizerJson | None
    jinja: str | None
    named_jinja: dict[str, str]
    memo: dict[str, Any] = field(default_factory=dict)  # what was parsed already, by file name

    def chat_templates(self, declared: Any) -> tuple[tuple[str, ...], bool]:
        """The chat templates that count, and whether there is one: files win over the config."""
        files = {} if self.jinja is None else {"default": self.jinja}
        files |= self.named_jinja
        if files:
            return tuple(files.values()), bool(
                files if len(files) > 1 or "default" not in files else self.jinja
            )
        if isinstance(declared, list):
            found = {}
            for entry in declared:
                if not isinstance(entry, dict) or "name" not in entry or "template" not in entry:
                    raise SourceError(f"{self.source}: chat_template is a list without names and templates")
                found[str(entry["name"])] = entry["template"]
            return tuple(str(t) for t in found.values() if t is not None), bool(found)
        if isinstance(declared, dict):
            return tuple(str(t) for t in declared.values() if t is not None), bool(declared)
        return ((str(declared),) if declared else ()), bool(declared)


def load_files(source: Source, major: str, config: JsonFile | None = None) -> TokenizerFiles:
    """Read them; what is missing is empty."""
    names = frozenset(source.names())
    config = load(source, "tokenizer_config.json") if config is None else config
    jinja, named = _templates(source, names)
    added_map = load(source, "added_tokens.json")
    file = load_tokenizer_json(source, tokenizer_file(config.data, major))
    return TokenizerFiles(
        repository=source,
        source=source.name,
        names=names,
        config=config,
        special_map=load(source, "special_tokens_map.json"),
        added_map=added_map,
        json=file,
        jinja=jinja,
        named_jinja=named,
    )


def tokenizer_file(config: Mapping[str, Any], major: str) -> str:
    """``tokenizer.json``, or the newest versioned one that this major's transformers would take."""
    chosen = "tokenizer.json"
    listed = config.get("fast_tokenizer_files")
    versions: dict[str, str] = {}
    for name in listed if isinstance(listed, list) else ():
        match = _VERSIONED.search(name) if isinstance(name, str) else None
        if match is not None and "/" not in name:
            versions[match[1]] = name
    for version in sorted(versions):
        numbers = tuple(int(part) for part in re.findall(r"\d{1,6}", version)[:3])
        if numbers > _WRITERS[major]:
            break
        chosen = versions[version]
    return chosen


def _templates(source: Source, names: frozenset[str]) -> tuple[str | None, dict[str, str]]:
    jinja = None
    if "chat_template.jinja" in names:
        jinja = decode(source.read("chat_template.jinja", MAX_SMALL), source.name, "chat_template.jinja")
    folder = "additional_chat_templates/"
    more = sorted(n for n in names if n.startswith(folder) and n.endswith(".jinja"))[:_MAX_TEMPLATES]
    named = {
        n.removeprefix(folder).removesuffix(".jinja"): decode(source.read(n, MAX_SMALL), source.name, n)
        for n in more
    }
    return jinja, named
