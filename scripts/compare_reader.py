"""Compare padfix's reading of made-up tokenizer repositories with what AutoTokenizer loads.

Every seed makes one repository: a class of the installed transformers, a vocabulary with or without the class's own
tokens, files that agree, contradict each other or are missing. Run it under each supported major after a change to
the reader or a new release of transformers::

    python scripts/compare_reader.py                        # 500 repositories
    python scripts/compare_reader.py --start 900 --count 1 --classes XGLMTokenizer -v
    python scripts/compare_reader.py --plausible            # files that do not contradict each other

It prints the differences by field with a seed for each, and exits with 1 when there are any. Contradictory files
make transformers itself inconsistent (an id given twice, a post-processor of other ids); ``--plausible`` leaves
those out, and there every difference is a mistake of the reader.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import logging
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import transformers  # noqa: E402

from padfix.errors import PadfixError, SourceError  # noqa: E402
from padfix.read import defaults  # noqa: E402
from padfix.read.live import inspect  # noqa: E402
from padfix.read.repo import read_repo  # noqa: E402
from padfix.read.source import open_source  # noqa: E402

MAJOR = transformers.__version__.split(".")[0]
TABLE = defaults.tokenizers(MAJOR)
CLASSES: Mapping[str, Any] = TABLE["classes"]
FIELDS = (
    "tokenizer_class", "pad", "eos", "unk", "bos", "specials", "n_tokens", "max_id", "holes", "next_id", "padding_side",
    "chat_template", "unk_emitted", "appends_eos", "backend_padding", "pad_uses", "candidates",
)  # fmt: skip
POOL = (
    "<pad>", "[PAD]", "<s>", "</s>", "<unk>", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<mask>", "<|endoftext|>", "<|pad|>",
    "<extra>", "<x>", "<|im_end|>", "hello",
)  # fmt: skip
WORDS = [*(f"w{i}" for i in range(20)), "\u2581", ".", "a", "b", "ab"]
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BERT = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}  # fmt: skip


def main() -> int:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=500, help="how many repositories")
    parser.add_argument("--classes", default="", help="only these, separated by commas")
    parser.add_argument("--plausible", action="store_true", help="no files that contradict each other")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the files of those that differ")
    args = parser.parse_args()
    names = args.classes.split(",") if args.classes else list(CLASSES)
    counts: collections.Counter[str] = collections.Counter()
    shown: dict[str, list[str]] = {}
    for seed in range(args.start, args.start + args.count):
        name = names[seed % len(names)]
        outcome, detail, files = compare(seed, name, plausible=args.plausible)
        counts[outcome] += 1
        if outcome not in ("same", "both refuse"):
            text = f"{seed} {name}: {detail}"
            if args.verbose:
                text += (
                    f"\n{json.dumps({k: v for k, v in files.items() if not isinstance(v, bytes)}, indent=1)}"
                )
            shown.setdefault(outcome, []).append(text)
    print(
        f"transformers {transformers.__version__}: " + ", ".join(f"{n} {k}" for k, n in counts.most_common())
    )
    for outcome, found in sorted(shown.items(), key=lambda item: -len(item[1])):
        print(f"== {outcome}: {len(found)}")
        for text in found[: None if args.verbose else 5]:
            print("   ", text if args.verbose else text[:600])
    return int(any(outcome.startswith("differs") for outcome in counts))


def compare(seed: int, name: str, *, plausible: bool) -> tuple[str, str, dict[str, Any]]:
    """Outcome, details and files of one repository."""
    files = make(random.Random(seed), name, plausible=plausible)
    with tempfile.TemporaryDirectory(prefix="compare") as path:
        folder = Path(path)
        for file, content in files.items():
            data = content if isinstance(content, bytes) else text_of(content).encode()
            (folder / file).write_bytes(data)
        return *verdict(folder), files


def verdict(folder: Path) -> tuple[str, str]:
    """How AutoTokenizer and the reader agree about one folder, and the details."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        tokenizer: Any
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - transformers raises many types, and Rust panics
            tokenizer = error
    try:
        state: Any = read_repo(open_source(folder), major=MAJOR)
    except SourceError as error:
        state = error
    except Exception as error:  # noqa: BLE001 - the very mistake that this looks for
        return "differs: padfix crashes", repr(error)[:200]
    if not hasattr(tokenizer, "get_vocab"):
        reason = f"{type(tokenizer).__name__}: {tokenizer}".replace("\n", " ")[:200]
        if isinstance(tokenizer, ImportError) or "pip install" in reason:
            return "same", ""  # a missing library says nothing about the reader
        return ("both refuse" if isinstance(state, SourceError) else "only AutoTokenizer refuses"), reason
    if isinstance(state, SourceError):
        if "no tokenizer.json and no" in str(state):  # transformers 5 gives the class's own few tokens then
            return "only padfix refuses: no vocabulary", ""
        return "only padfix refuses", str(state).replace(str(folder), "")[:200]
    try:
        live = inspect(None, tokenizer)
    except (PadfixError, Exception) as error:  # noqa: BLE001 - a tokenizer that cannot be saved or asked
        return "live tokenizer is unusable", repr(error)[:200]
    names = [f for f in FIELDS if f != "pad_uses" or tokenizer.is_fast]
    pairs = {f: (value(live, f), value(state, f)) for f in names}
    found = {f: pair for f, pair in pairs.items() if pair[0] != pair[1]}
    return (f"differs in {', '.join(found)}" if found else "same"), str(found) if found else ""


def value(state: Any, field: str) -> Any:
    """A field, without what the config beside a tokenizer adds to its candidates."""
    found = getattr(state, field)
    return tuple(c for c in found if c.kind != "config") if field == "candidates" else found


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def make(r: random.Random, name: str, *, plausible: bool) -> dict[str, Any]:
    """The files of one repository: JSON values, texts, or the bytes of a model."""
    record = CLASSES[name]
    own = [t for t in record.get("roles", {}).values() if isinstance(t, str)] + list(
        record.get("extras", ())[:5]
    )
    rate = 1.0 if plausible else 0.9
    keep = [t for t in dict.fromkeys(own) if r.random() < rate]
    more = [t for t in POOL if r.random() < 0.25]
    listed = [*keep, *more] if plausible or r.random() < 0.7 else []
    words = list(dict.fromkeys([*listed, *WORDS]))
    if not plausible and r.random() < 0.5:
        r.shuffle(words)
    table = {w: i for i, w in enumerate(words)}
    if not plausible and r.random() < 0.1:
        table[words[-1]] += r.randint(1, 5)
    added = list(added_tokens(r, [*keep, *more], table, plausible))
    layout = r.choice(("json", "json", "json", "both", "slow"))
    files: dict[str, Any] = {}
    if layout != "slow":
        files["tokenizer.json"] = tokenizer_json(r, record, words, table, added, plausible)
    if layout != "json":
        files |= vocabulary_files(record, words, table, [*keep, *more])
    if plausible and layout == "slow":
        added = []  # whose ids would not be those of a SentencePiece model
    files |= settings(r, name, [*own, *more], added, max(table.values()) + 1, plausible)
    return files


def added_tokens(r: random.Random, texts: list[str], table: Mapping[str, int], plausible: bool) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Entries of ``added_tokens``, by id."""
    entries = []
    following = max(table.values()) + 1
    for text in dict.fromkeys(texts):
        if text in table and (plausible or r.random() < 0.7):
            entries.append((table[text], text))
        elif text not in table and r.random() < 0.6:
            entries.append((following, text))
            following += 1
    for i, text in sorted(entries):
        special = plausible or r.random() < 0.9
        flags = {
            "single_word": False,
            "lstrip": r.random() < 0.2,
            "rstrip": False,
            "normalized": r.random() < 0.3,
        }
        yield {"id": i, "content": text, **flags, "special": special}


def tokenizer_json(
    r: random.Random,
    record: Mapping[str, Any],
    words: list[str],
    table: Mapping[str, int],
    added: list[dict[str, Any]],
    plausible: bool,
) -> dict[str, Any]:
    shape = record.get("model") or (record.get("shape") if plausible else None)
    shape = shape or r.choice(("BPE", "Unigram", "WordPiece", "WordLevel", "BPE"))
    unk = next((w for w in ("<unk>", "[UNK]") if w in table), words[0])
    model: dict[str, Any] = {"type": shape, "vocab": dict(table)}
    if shape == "Unigram":
        special = {e["content"] for e in added}
        scores = [[w, 0.0 if w in special else -float(i)] for i, w in enumerate(words)]
        model |= {"unk_id": words.index(unk), "vocab": scores, "byte_fallback": False}
    elif shape == "BPE":
        merges = ["a b"] if {"a", "b", "ab"} <= table.keys() else []
        model |= {
            "unk_token": r.choice((None, None, unk)),
            "byte_fallback": r.random() < 0.3,
            "merges": merges,
        }
    else:
        model["unk_token"] = unk if plausible else r.choice(words)
        if shape == "WordPiece":
            model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    post = pad = None
    if r.random() < 0.6 and added:
        token = r.choice(added)
        text, own_id = token["content"], token["id"]
        sequences = [{"Sequence": {"id": s, "type_id": 0}} for s in "AB"]
        end = {"SpecialToken": {"id": text, "type_id": 0}}
        special_tokens = {text: {"id": text, "ids": [own_id], "tokens": [text]}}
        post = {"type": "TemplateProcessing", "single": [sequences[0], end], "pair": sequences, "special_tokens": special_tokens}  # fmt: skip
    if r.random() < 0.2 and added:
        token = r.choice(added)
        pad = {"strategy": "BatchLongest", "direction": r.choice(("Right", "Left")), "pad_to_multiple_of": None, "pad_id": token["id"], "pad_type_id": 0, "pad_token": token["content"]}  # fmt: skip
    return {
        "version": "1.0",
        "truncation": None,
        "padding": pad,
        "added_tokens": added,
        "normalizer": r.choice((None, {"type": "NFC"}, {"type": "Lowercase"}, BERT)),
        "pre_tokenizer": r.choice((None, BYTE_LEVEL, metaspace, {"type": "Whitespace"})),
        "post_processor": post,
        "decoder": None,
        "model": model,
    }


def vocabulary_files(record: Mapping[str, Any], words: list[str], table: Mapping[str, int], own: list[str]) -> dict[str, Any]:  # fmt: skip
    """The class's own vocabulary files, and those of the slow class that transformers 4 converts."""
    slow = CLASSES.get(record.get("slow") or "", {})
    files: dict[str, Any] = {}
    wanted = [f for f in {**slow.get("files", {}), **record["files"]}.values() if f != "tokenizer.json"]
    for file in wanted or ["tokenizer.model"]:
        if file.endswith((".model", ".spm")):
            files[file] = sentencepiece_model(own)
        elif file.endswith("merges.txt"):
            files[file] = "#version: 0.2\na b\n"
        elif file in ("bpe.codes", "dict.txt"):
            files[file] = "".join(f"{w} 5\n" for w in WORDS)
        elif file.endswith(".txt"):
            files[file] = "".join(f"{w}\n" for w in words)
        elif file.endswith(".json") and not file.startswith("tokenizer"):
            files[file] = dict(table)
    return files


def sentencepiece_model(own: list[str], first: tuple[str, ...] = ()) -> bytes:
    """A SentencePiece model as bytes of protobuf: unk, two control pieces, the class's own, and words.

    ``first``: these pieces in this order instead of unk and two control pieces.
    """

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    def piece(text: str, kind: int) -> bytes:
        return field(1, field(1, text.encode()) + b"\x15\x00\x00\x00\x00" + bytes([3 << 3, kind]))

    first = first or ("<unk>", "<s>", "</s>")
    control = [t for t in dict.fromkeys(own) if t not in first]
    pieces = [piece(t, 2 if "unk" in t.lower() else 3) for t in first]
    pieces += [piece(t, 3) for t in control if len(t.encode()) < 100]
    spec = b""
    for number, names in (
        (40, ("<unk>", "[UNK]")),
        (41, ("<s>", "<bos>")),
        (42, ("</s>", "<eos>")),
        (43, ("<pad>", "[PAD]")),
    ):
        at = next((i for i, t in enumerate(first) if t in names), -1)
        key = number << 3
        spec += bytes([key & 0x7F | 0x80, key >> 7])
        spec += bytes([at]) if at >= 0 else b"\xff" * 9 + b"\x01"
    return b"".join([*pieces, *(piece(w, 1) for w in WORDS if w not in control)]) + field(2, spec)


def token(r: random.Random, text: str) -> Any:
    """A token as configs write it: a string, or an object."""
    if r.random() < 0.6:
        return text
    found = {
        "content": text,
        "lstrip": False,
        "normalized": r.random() < 0.3,
        "rstrip": False,
        "single_word": False,
    }
    return found | {"__type": "AddedToken"}


def settings(
    r: random.Random, name: str, texts: list[str], added: list[dict[str, Any]], top: int, plausible: bool
) -> dict[str, Any]:
    """The small JSON files."""
    files: dict[str, Any] = {}
    bare = name.removesuffix("Fast")
    config: dict[str, Any] = {}
    if plausible or r.random() < 0.8:
        config["tokenizer_class"] = (
            name if plausible else r.choice((name, name, bare, f"{bare}Fast", "PreTrainedTokenizerFast"))
        )
    known = [e["content"] for e in added] if plausible else []
    for role in ROLES:
        kind = r.random()
        if kind < 0.35:
            config[role] = token(r, r.choice([*(known or texts), "<pad>", "<new>"]))
        elif kind < 0.4:
            config[role] = None
    if r.random() < 0.5:
        declared = [e for e in added if plausible or r.random() < 0.95]
        config["added_tokens_decoder"] = {
            str(e["id"]): {k: v for k, v in e.items() if k != "id"} for e in declared
        }
    if r.random() < 0.3:
        config["additional_special_tokens"] = [token(r, t) for t in r.sample(POOL, r.randint(0, 3))]
    if MAJOR == "5" and r.random() < 0.15:
        config["extra_special_tokens"] = r.choice((["<x>"], {"image_token": "<x>"}, []))
    if r.random() < 0.3:
        config["padding_side"] = r.choice(("left", "right"))
    for key in ("add_bos_token", "add_eos_token", "add_prefix_space", "do_lower_case", "legacy"):
        if r.random() < 0.15:
            config[key] = r.random() < 0.5
    if r.random() < 0.2:
        config["chat_template"] = "{{ '<|im_end|>' }}"
    if plausible or r.random() < 0.95:
        files["tokenizer_config.json"] = config
    if r.random() < 0.5:
        roles = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token")
        named = {
            role: token(r, r.choice([*(known or texts), "<pad>", "<map>"]))
            for role in roles
            if r.random() < 0.5
        }
        files["special_tokens_map.json"] = named
    if r.random() < 0.3:
        files["added_tokens.json"] = {e["content"]: e["id"] for e in added if e["id"] >= top}
    if r.random() < 0.6:
        types = [k for k, v in TABLE["by_model_type"].items() if name in (v if isinstance(v, list) else [v])]
        files["config.json"] = {
            "model_type": r.choice(types or ["llama", "gpt2", "bert", "t5", "mistral", "qwen2"])
        }
        if r.random() < 0.3:
            files["config.json"]["tokenizer_class"] = name
    return files


if __name__ == "__main__":
    sys.exit(main())
