"""What a listing alone says of pads: a thousand repositories per request, as hints to be confirmed.

The hub's ``config`` of a listing holds the special tokens of tokenizer_config.json. Class defaults (BERT,
T5 and GPT-NeoX have a pad that no file names), special_tokens_map.json and config.json's ids are not in
it, so a survey says "no pad is named" where an audit may find one, and says so of itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from padfix.hub.client import Client
from padfix.hub.errors import HubError
from padfix.hub.listing import Query, entries
from padfix.types import Finding, PadState, Report, Skip, Token

EXPAND: Final = ("config", "gated", "sha")
HINT: Final = "survey: a hint from the hub's listing; no file was read"
_LONGEST: Final = 1000  # characters of a token


def survey(client: Client, query: Query) -> Iterator[Report]:
    """A report per listed repository, its state holding only what the listing says. Raises `HubError`."""
    for entry in entries(client, query, EXPAND):
        yield surveyed(entry)


def surveyed(entry: Mapping[str, Any]) -> Report:
    """One entry of a listing as a report of hints.

    >>> config = {"model_type": "llama", "tokenizer_config": {"eos_token": "</s>", "pad_token": None}}
    >>> [finding.message for finding in surveyed({"id": "org/name", "config": config}).findings]
    ['hint: tokenizer_config.json sets no pad token (null)']
    """
    name = str(entry.get("id"))
    config = _mapping(entry.get("config"))
    declared = config.get("tokenizer_config")
    if not isinstance(declared, Mapping):
        gated = "; it is gated" if entry.get("gated") else ""
        return Report(
            name,
            None,
            (),
            (Skip(name, f"nothing-to-audit: the listing knows no tokenizer_config.json{gated}"),),
        )
    pad, eos, unk, bos = (_token(declared.get(f"{role}_token")) for role in ("pad", "eos", "unk", "bos"))
    architectures = config.get("architectures")
    kind = config.get("model_type")
    state = PadState(
        source=f"{name}@{entry['sha']}" if isinstance(entry.get("sha"), str) else name,
        pad=pad,
        eos=eos,
        unk=unk,
        bos=bos,
        model_type=kind if isinstance(kind, str) else None,
        architectures=tuple(a for a in architectures if isinstance(a, str))
        if isinstance(architectures, list)
        else (),
        chat_template=bool(declared.get("chat_template") or config.get("chat_template_jinja")),
        problems=(HINT,),
    )
    return Report(name, state, tuple(_hints(state, "pad_token" in declared)), (Skip(name, HINT),))


def survey_one(client: Client, spec: str) -> Report:
    """The same for a repository that is named: one request, of the list of files' ``config``."""
    from padfix.hub.file_list import fetch_listing

    try:
        listing = fetch_listing(client, spec)
    except HubError as error:
        return Report(spec, None, (), (Skip(spec, str(error)),))
    return surveyed({"id": spec, "sha": listing.sha, "config": listing.config})


def _hints(state: PadState, named: bool) -> Iterator[Finding]:
    def hint(code: str, name: str, message: str) -> Finding:
        return Finding(code, name, "info", f"hint: {message}", file="tokenizer_config.json", key="pad_token")

    if state.pad is None:
        how = "sets no pad token (null)" if named else "does not name a pad token; the class may have one"
        yield hint("PAD001", "missing-pad-token", f"tokenizer_config.json {how}")
    elif state.eos is not None and state.pad.text == state.eos.text:
        yield hint("PAD002", "pad-equals-eos", f"pad and EOS are both {state.pad.text!r}")
    elif state.unk is not None and state.pad.text == state.unk.text:
        yield hint("PAD004", "pad-equals-unk", f"pad and unk are both {state.pad.text!r}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _token(value: Any) -> Token | None:
    """A token as a string or as ``{"__type": "AddedToken", "content": ...}``; its id is not in a listing."""
    text = value.get("content") if isinstance(value, Mapping) else value
    return Token(text[:_LONGEST], None) if isinstance(text, str) and text else None
