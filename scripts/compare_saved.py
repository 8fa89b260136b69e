"""Compare padfix's reading of tokenizers as fine-tuners leave them with what AutoTokenizer loads.

Real tokenizers, cut down to some hundred tokens, and a small one of every class are changed as scripts change
them (a pad added, EOS reused, tokens added, padding switched on), saved by both majors, and then changed as people
and old versions change files: one removed or left over, another class name, the formats of transformers 2 to 4.33.
First save under each major into one folder, then compare under each::

    python scripts/compare_saved.py save FOLDER             # with transformers 4, then with 5
    python scripts/compare_saved.py compare FOLDER --count 2000

``PADFIX_CORPUS`` names the folder of real tokenizers. Every difference is shown with the fewest changes that give it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compare_reader  # which keeps transformers off the network before it is imported
from compare_reader import CLASSES, MAJOR, ROLES, TABLE, sentencepiece_model, verdict

transformers = compare_reader.transformers
CORPUS = Path(os.environ.get("PADFIX_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))
Files = dict[str, bytes]
FINE = ("same", "both refuse", "only padfix refuses: no vocabulary")
FIRST = 150  # ordinary tokens that a cut tokenizer keeps
FLAGS = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
CHATML = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


# whose SentencePiece models have <unk> <s> </s> first and none of the class's tokens
ALIGNED = (
    "Barthez", "Bartpho", "Camembert", "LayoutXLM", "M2M100", "MBart", "MBart50", "MLuke", "Marian", "Nllb", "PLBart",
    "SeamlessM4T", "SpeechT5", "Speech2Text", "XGLM", "XLMRoberta", "Llama", "CodeLlama", "BertGeneration", "Reformer",
    "T5", "MT5", "Udop", "Pegasus", "VideoPrism",
)  # fmt: skip
# the first pieces of others' models
FIRST_PIECES = {
    "T5": ("<pad>", "</s>", "<unk>"), "MT5": ("<pad>", "</s>", "<unk>"), "Udop": ("<pad>", "</s>", "<unk>"),
    "Gemma": ("<pad>", "<eos>", "<bos>", "<unk>"), "Pegasus": ("<pad>", "</s>", "<unk>"), "Siglip": ("<pad>", "</s>", "<unk>"),
    "Albert": ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"), "RemBert": ("[PAD]", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    "FNet": ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"), "DebertaV2": ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
    "BigBird": ("<pad>", "</s>", "<s>", "<unk>"), "XLNet": ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"),
}  # fmt: skip


# --- cutting a real tokenizer down -----------------------------------------------------------------------------


def special(text: str) -> bool:
    """Written like a special token."""
    return (
        len(text) > 2
        and (text[0], text[-1]) in (("<", ">"), ("[", "]"), (">", "<"), ("|", "|"))
        and not text.isspace()
    )


def pieces_of(data: bytes) -> Iterator[tuple[bytes, str | None]]:
    """The top-level fields of a SentencePiece model, with the text of each piece."""

    def number(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return value, at

    at = 0
    while at < len(data):
        key, inner = number(at)
        if key & 7 == 2:
            size, inner = number(inner)
            end = inner + size
        else:
            end = number(inner)[1] if key & 7 == 0 else inner + (4 if key & 7 == 5 else 8)
        text = None
        if key >> 3 == 1:
            size, start = number(inner + 1)
            text = data[start : start + size].decode()
        yield data[at:end], text
        at = end


def cut(folder: Path) -> Files:
    """A real repository with fewer ordinary tokens, every id moved up; holes and special tokens stay."""
    raw = {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.stat().st_size < 4e7
    }
    parsed: dict[str, Any] = {n: json.loads(d) for n, d in raw.items() if n.endswith(".json")}
    ids: dict[int, str] = {}
    keep: set[str] = set()
    for name in ("vocab.json", "added_tokens.json"):
        ids |= {i: t for t, i in parsed.get(name, {}).items()}
    if "vocab.txt" in raw:
        ids |= dict(enumerate(raw["vocab.txt"].decode().splitlines()))
    config, fast = parsed.get("tokenizer_config.json", {}), parsed.get("tokenizer.json")
    merges: list[Any] = []
    if fast is not None:
        vocab = fast["model"]["vocab"]
        ids |= (
            {i: e[0] for i, e in enumerate(vocab)}
            if isinstance(vocab, list)
            else {i: t for t, i in vocab.items()}
        )
        merges = fast["model"].get("merges", [])
        for e in fast["added_tokens"]:
            ids[e["id"]] = e["content"]
            keep.add(e["content"])
    if not merges and "merges.txt" in raw:
        merges = [m for m in raw["merges.txt"].decode().splitlines() if m.count(" ") == 1]
    for i, e in config.get("added_tokens_decoder", {}).items():
        ids[int(i)] = e["content"]
        keep.add(e["content"])
    keep |= set(parsed.get("added_tokens.json", {}))
    pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in merges]
    models = {
        n: list(pieces_of(d))
        for n, d in raw.items()
        if n.endswith((".model", ".spm")) and "tiktoken" not in n
    }
    ordered = [t for _, t in sorted(ids.items())] or [
        t for p in models.values() for _, t in p if t is not None
    ]
    short = [t for t in ordered if len(t) == 1]
    for a, b in pairs[:FIRST]:
        keep |= {a, b, a + b}
    keep |= {t for t in ordered if special(t)} | set(short[:300]) | set(ordered[:FIRST])
    known = {p[0] + p[1] for p in pairs if p[0] in keep and p[1] in keep} if pairs else keep
    keep = {
        t
        for t in keep
        if len(t) < 2 or special(t) or not pairs or t in known or t not in {a + b for a, b in pairs}
    }
    gone = 0
    moved: dict[int, int] = {}
    for i in range(max(ids, default=-1) + 1):
        gone += i in ids and ids[i] not in keep
        moved[i] = i - gone
    out: Files = {}
    for name, data in raw.items():
        if name == "tokenizer.json":
            model = fast["model"]
            vocab = model["vocab"]
            if isinstance(vocab, list):
                model["vocab"] = [e for i, e in enumerate(vocab) if ids[i] in keep]
                model["unk_id"] = None if model.get("unk_id") is None else moved[model["unk_id"]]
            else:
                model["vocab"] = {t: moved[i] for t, i in vocab.items() if t in keep}
            if merges and "merges" in model:
                model["merges"] = [
                    m
                    for m, (a, b) in zip(merges, pairs, strict=True)
                    if {a, b, a + b} <= model["vocab"].keys()
                ]
            for e in fast["added_tokens"]:
                e["id"] = moved[e["id"]]
            post = json.dumps(fast.get("post_processor"))
            post = re.sub(r'"ids": \[(\d+)\]', lambda m: f'"ids": [{moved[int(m[1])]}]', post)
            post = re.sub(r'("(?:sep|cls)": \["[^"]*", )(\d+)', lambda m: f"{m[1]}{moved[int(m[2])]}", post)
            fast["post_processor"] = json.loads(post)
            if fast.get("padding"):
                fast["padding"]["pad_id"] = moved[fast["padding"]["pad_id"]]
            out[name] = dump(fast)
        elif name in ("vocab.json", "added_tokens.json"):
            out[name] = dump({t: moved[i] for t, i in parsed[name].items() if t in keep})
        elif name == "tokenizer_config.json":
            if "added_tokens_decoder" in config:
                config["added_tokens_decoder"] = {
                    str(moved[int(i)]): e for i, e in config["added_tokens_decoder"].items()
                }
            out[name] = dump(config)
        elif name == "vocab.txt":
            out[name] = "".join(f"{t}\n" for t in data.decode().splitlines() if t in keep).encode()
        elif name == "merges.txt":
            lines = [
                m
                for m in data.decode().splitlines()
                if "" in (p := m.partition(" ")) or {p[0], p[2], p[0] + p[2]} <= keep
            ]
            out[name] = "\n".join(lines).encode() + b"\n"
        elif name in models:
            out[name] = b"".join(d for d, t in models[name] if t is None or t in keep)
        else:
            out[name] = data
    return out


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


# --- saving ----------------------------------------------------------------------------------------------------


def small(name: str) -> Files:
    """A small repository of a class, as its makers lay it out: its own vocabulary files, or tokenizer.json."""
    record, bare = CLASSES[name], name.removesuffix("Fast").removesuffix("Tokenizer")
    own = [t for t in record.get("roles", {}).values() if isinstance(t, str)] + list(
        record.get("extras", ())
    )[:200]
    words = [
        *own,
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        *(f"w{i}" for i in range(20)),
        "\u2581",
        ".",
        "a",
        "b",
        "ab",
    ]
    words += [f"x{i}" for i in range(120 - len(words))]
    table = {w: i for i, w in enumerate(dict.fromkeys(words))}
    files: Files = {"tokenizer_config.json": dump({"tokenizer_class": name})}
    slow = CLASSES.get(record.get("slow") or "", {})
    for file in {**slow.get("files", {}), **record["files"]}.values():
        if file.endswith((".model", ".spm")):
            files[file] = sentencepiece_model(own if bare not in ALIGNED else [], FIRST_PIECES.get(bare, ()))
        elif file.endswith("merges.txt"):
            files[file] = b"#version: 0.2\na b\n"
        elif file in ("bpe.codes", "dict.txt"):
            files[file] = "".join(f"{w} 5\n" for w in words[-40:]).encode()
        elif file.endswith(".txt"):
            files[file] = "".join(f"{w}\n" for w in table).encode()
        elif file.endswith(".json") and not file.startswith("tokenizer"):
            files[file] = dump(table)
    types = [k for k, v in TABLE["by_model_type"].items() if name in (v if isinstance(v, list) else [v])]
    if types:
        files["config.json"] = dump({"model_type": types[0]})
    return files


def bases(whole: bool) -> Iterator[tuple[str, Files]]:
    """The real tokenizers, cut down or ``whole``, and a small one of every class."""
    folders = {p.parent for n in ("tokenizer_config.json", "tokenizer.json") for p in CORPUS.rglob(n)}
    for path in sorted(folders):
        with contextlib.suppress(KeyError, UnicodeDecodeError):
            yield path.name, load(path) if whole else cut(path)
    for name in () if whole else CLASSES:
        if name != "CanineTokenizer":
            yield name, small(name)


def _padded(tok: Any) -> None:
    tok.pad_token = tok.pad_token or tok.eos_token
    tok("a b", padding="max_length", max_length=8, truncation=True)


def _named_pad(text: str) -> Callable[[Any], None]:
    return lambda tok: tok.add_special_tokens({"pad_token": text}) and None


LIVE: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda tok: None,
    "pad = eos": lambda tok: setattr(tok, "pad_token", tok.eos_token),
    "pad = unk": lambda tok: setattr(tok, "pad_token", tok.unk_token),
    "pad_token_id = 0": lambda tok: setattr(tok, "pad_token_id", 0),
    "add [PAD]": _named_pad("[PAD]"),
    "add <pad>": _named_pad("<pad>"),
    "tokens": lambda tok: tok.add_tokens(["<new1>", "newword", "Another"]),
    "tokens, then pad": lambda tok: (tok.add_tokens(["<new1>", "newword"]), _named_pad("<|pad|>")(tok)),
    "extra": lambda tok: tok.add_special_tokens(
        {
            "extra_special_tokens" if MAJOR == "5" else "additional_special_tokens": [
                "<|im_start|>",
                "<|im_end|>",
            ]
        }
    ),
    "chatml": lambda tok: (
        tok.add_special_tokens(
            {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "bos_token": "<|im_start|>"}
        ),
        setattr(tok, "chat_template", CHATML),
    ),
    "left": lambda tok: (setattr(tok, "padding_side", "left"), setattr(tok, "model_max_length", 512)),
    "padded": _padded,
    "AddedToken": lambda tok: tok.add_special_tokens(
        {"pad_token": transformers.AddedToken("[PAD]", lstrip=True, normalized=True)}
    ),
    "all roles": lambda tok: tok.add_special_tokens(
        {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "[PAD]"}
    ),
}
GIVEN: dict[str, dict[str, Any]] = {
    "add_eos_token": {"add_eos_token": True},
    "add_bos_token": {"add_bos_token": False, "padding_side": "left"},
    "given pad": {"pad_token": "<pad>"},
    "add_prefix_space": {"add_prefix_space": True},
    "slow": {"use_fast": False},
    "legacy": {"legacy": False},
    "do_lower_case": {"do_lower_case": False},
}


WHOLE = ("add [PAD]", "chatml", "slow")  # of a real tokenizer at its full size, which takes seconds each


def save(out: Path, whole: bool) -> None:
    """Every base, loaded, changed and saved by this major; and the bases."""
    changes = WHOLE if whole else [*LIVE, *GIVEN, "trained anew", "legacy format", "bare"]
    done: collections.Counter[str] = collections.Counter()
    for name, files in bases(whole):
        place(out / f"base {name}", files)
        for change in changes:
            target = out / f"{MAJOR} {name}, {change}"
            try:
                with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                    tok: Any = transformers.AutoTokenizer.from_pretrained(
                        out / f"base {name}", **GIVEN.get(change, {})
                    )
                    LIVE.get(change, lambda tok: None)(tok)
                    if change == "trained anew":
                        tok = tok.train_new_from_iterator(["some little text of words", "and more"] * 9, 120)
                    elif change == "bare":
                        tok = transformers.PreTrainedTokenizerFast(tokenizer_object=tok.backend_tokenizer)
                    tok.save_pretrained(
                        target, **({"legacy_format": True} if change == "legacy format" else {})
                    )
                done["saved"] += 1
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - Rust's panics as well: what cannot be saved is nobody's
                done[type(error).__name__] += 1
                shutil.rmtree(target, ignore_errors=True)
    print(dict(done))


def place(folder: Path, files: Files) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# --- what people and old versions do to files --------------------------------------------------------------------


def edits(r: random.Random, files: Files, base: Files) -> Iterator[tuple[str, Callable[[Files], None]]]:
    """Changes of files, each with a name."""
    roles = ("pad_token", "eos_token", "unk_token", "bos_token", "cls_token", "mask_token", "sep_token")

    def config(
        change: Callable[[dict[str, Any]], Any], name: str = "tokenizer_config.json"
    ) -> Callable[[Files], None]:
        def run(files: Files) -> None:
            if name in files:
                data = json.loads(files[name])
                change(data)
                files[name] = dump(data)

        return run

    def gone(*names: str) -> Callable[[Files], None]:
        return lambda files: [files.pop(n, None) for n in names] and None

    def setting(key: str, value: Any) -> Callable[[Files], None]:
        return config(lambda c: c.update({key: value}))

    def dropping(*keys: str) -> Callable[[Files], None]:
        return config(lambda c: [c.pop(k, None) for k in keys])

    for name in files:
        yield f"without {name}", gone(name)
    for name in base.keys() - files.keys():
        yield f"left over: {name}", lambda f, n=name: f.update({n: base[n]})
    for name in base.keys() & files.keys():
        yield f"old: {name}", lambda f, n=name: f.update({n: base[n]})
    yield (
        "only tokenizer.json",
        lambda f: [f.pop(n) for n in list(f) if n not in ("tokenizer.json", "config.json")] and None,
    )
    yield "slow files only", gone("tokenizer.json")
    current = str(json.loads(files.get("tokenizer_config.json", b"{}")).get("tokenizer_class", ""))
    bare = current.removesuffix("Fast")
    for other in (
        bare,
        f"{bare}Fast",
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
        "LlamaTokenizer",
        "LlamaTokenizerFast",
        "GPT2Tokenizer",
        "GPT2TokenizerFast",
        "PreTrainedTokenizer",
    ):
        yield f"class {other}", setting("tokenizer_class", other)
    yield "no class", dropping("tokenizer_class")
    yield "class null", setting("tokenizer_class", None)
    for kind in ("strings", "objects"):
        yield f"4.33 ({kind})", lambda f, k=kind: older(f, base, k, typed=True)
        yield f"3.0 ({kind})", lambda f, k=kind: older(f, base, k, typed=False)
    for role in roles:
        yield f"{role} null", setting(role, None)
        yield f"no {role}", dropping(role)
        text = r.choice(("<pad>", "[PAD]", "</s>", "<unk>", "<|endoftext|>", "<|eot_id|>", "<nowhere>"))
        yield f"{role} {text}", setting(role, text)
        yield (
            f"{role} {{{text}}}",
            setting(role, {"__type": "AddedToken", "content": text, **FLAGS, "normalized": r.random() < 0.5}),
        )
        yield (
            f"map: {role} {text}",
            config(lambda c, k=role, t=text: c.update({k: t}), "special_tokens_map.json"),
        )
    yield "pad empty", setting("pad_token", "")
    yield "additional", setting("additional_special_tokens", ["<x>", "<|im_end|>"])
    yield (
        "additional objects",
        setting("additional_special_tokens", [{"__type": "AddedToken", "content": "<x>", **FLAGS}]),
    )
    yield "additional []", setting("additional_special_tokens", [])
    yield "additional null", setting("additional_special_tokens", None)
    yield "extra list", setting("extra_special_tokens", ["<x>"])
    yield "extra {}", setting("extra_special_tokens", {})
    yield "extra {image}", setting("extra_special_tokens", {"image_token": "<image>", "boi_token": "<boi>"})
    yield "image_token", setting("image_token", "<image>")
    for key in (
        "add_bos_token",
        "add_eos_token",
        "add_prefix_space",
        "legacy",
        "use_fast",
        "from_slow",
        "do_lower_case",
        "keep_accents",
        "clean_up_tokenization_spaces",
        "use_default_system_prompt",
        "split_special_tokens",
    ):
        flag = r.random() < 0.5
        yield f"{key} {flag}", setting(key, flag)
    yield "add_prefix_space null", setting("add_prefix_space", None)
    yield "add_bos_token null", setting("add_bos_token", None)
    yield "padding_side left", setting("padding_side", "left")
    yield "model_max_length", setting("model_max_length", r.choice((1e30, 512, None, int(1e30))))
    yield "no decoder", dropping("added_tokens_decoder")
    yield "decoder {}", setting("added_tokens_decoder", {})
    yield (
        "decoder gap",
        config(
            lambda c: (
                c.get("added_tokens_decoder", {})
                and c["added_tokens_decoder"].pop(r.choice(list(c["added_tokens_decoder"])))
            )
        ),
    )
    yield "decoder +1", config(lambda c: grown(c, 1))
    yield "decoder far", config(lambda c: grown(c, 40))
    yield "model grown", resized(3)
    yield "model cut", resized(-3)
    yield "added cut", config(lambda f: f.get("added_tokens") and f["added_tokens"].pop(), "tokenizer.json")
    yield "no normalizer", config(lambda f: f.update(normalizer=None), "tokenizer.json")
    yield "no post-processor", config(lambda f: f.update(post_processor=None), "tokenizer.json")
    yield "tokenizer_file null", setting("tokenizer_file", None)
    yield "tokenizer_file path", setting("tokenizer_file", "/root/.cache/huggingface/abc.json")
    yield "vocab_file null", setting("vocab_file", None)
    yield "vocab_file path", setting("vocab_file", "/root/somewhere/vocab.json")
    yield "full_tokenizer_file", setting("full_tokenizer_file", None)

    def model(change: Callable[[dict[str, Any]], Any]) -> Callable[[Files], None]:
        return config(lambda f: change(f["model"]), "tokenizer.json")

    yield "no model type", model(lambda m: m.pop("type", None))
    yield (
        "merges as strings",
        model(
            lambda m: m.update(merges=[x if isinstance(x, str) else " ".join(x) for x in m.get("merges", [])])
        ),
    )
    yield (
        "little said of the model",
        model(lambda m: [m.pop(k, None) for k in ("dropout", "byte_fallback", "fuse_unk", "ignore_merges")]),
    )
    yield (
        "truncation",
        config(
            lambda f: f.update(
                truncation={"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
            ),
            "tokenizer.json",
        ),
    )
    yield (
        "old LLaMA",
        config(
            lambda c: c.update(
                dict.fromkeys(("bos_token", "eos_token", "unk_token"), ""), tokenizer_class="LLaMATokenizer"
            )
        ),
    )
    yield (
        "empty roles",
        config(lambda c: c.update(dict.fromkeys(("bos_token", "eos_token", "unk_token"), ""))),
    )
    for role in ("pad_token", "eos_token"):
        yield f"{role} untyped", setting(role, {"content": "</s>", **FLAGS})
        yield f"map: {role} null", config(lambda c, k=role: c.update({k: None}), "special_tokens_map.json")
    for count in (0, 100):
        yield f"extra_ids {count}", setting("extra_ids", count)
    languages = [
        t for t in CLASSES.get(current, CLASSES.get(f"{bare}Fast", {})).get("extras", ()) if "_" in t
    ]
    if languages:
        yield "src_lang", setting("src_lang", r.choice(languages))
        yield "tgt_lang", setting("tgt_lang", r.choice(languages))
    yield "no config", gone("config.json")
    for kind in (
        "llama",
        "mistral",
        "qwen2",
        "gpt2",
        "bert",
        "gpt_neox",
        "t5",
        "roberta",
        "phi3",
        "gemma2",
        "unheard-of",
    ):
        yield f"model_type {kind}", lambda f, k=kind: f.update({"config.json": dump({"model_type": k})})
    yield "config without type", lambda f: f.update({"config.json": b"{}"})
    if bare:
        yield (
            "class in config.json",
            lambda f: (
                dropping("tokenizer_class")(f),
                f.update(
                    {
                        "config.json": dump(
                            {**json.loads(f.get("config.json", b"{}")), "tokenizer_class": bare}
                        )
                    }
                ),
                None,
            )[-1],
        )


def grown(config: dict[str, Any], by: int) -> None:
    decoder = config.setdefault("added_tokens_decoder", {})
    top = max(map(int, decoder), default=300)
    decoder[str(top + by)] = {"content": "<grown>", **FLAGS, "special": True}


def resized(by: int) -> Callable[[Files], None]:
    """The model of tokenizer.json with more or fewer tokens than its added ones know of."""

    def run(files: Files) -> None:
        if "tokenizer.json" not in files:
            return
        data = json.loads(files["tokenizer.json"])
        vocab = data["model"]["vocab"]
        if by > 0 and isinstance(vocab, list):
            vocab += [[f"more{i}", -9.0] for i in range(by)]
        elif by > 0:
            vocab |= {f"more{i}": max(vocab.values(), default=-1) + 1 + i for i in range(by)}
        elif isinstance(vocab, list):
            del vocab[by:]
        else:
            last = sorted(vocab, key=vocab.__getitem__)[by:]
            data["model"]["vocab"] = {t: i for t, i in vocab.items() if t not in last}
        files["tokenizer.json"] = dump(data)

    return run


def older(files: Files, base: Files, kind: str, *, typed: bool) -> None:
    """The small files as transformers 3 and 4.0 to 4.33 wrote them."""
    config = json.loads(files.get("tokenizer_config.json", b"{}"))
    decoder = config.pop("added_tokens_decoder", {})
    if "tokenizer.json" in files and not decoder:
        decoder = {str(e["id"]): e for e in json.loads(files["tokenizer.json"])["added_tokens"]}
    lists = config.pop("additional_special_tokens", None) or config.pop("extra_special_tokens", None)
    config.pop("extra_special_tokens", None)
    for key in ("backend", "is_local", "local_files_only", "fast_tokenizer_files"):
        config.pop(key, None)
    named = {k: v for k, v in config.items() if k in ROLES and v is not None}
    flags = {e["content"]: {k: v for k, v in e.items() if k in FLAGS} for e in decoder.values()}

    def text(v: Any) -> str:
        return v if isinstance(v, str) else str(v["content"])

    mapped: dict[str, Any] = {
        k: text(v) if kind == "strings" else {"content": text(v), **FLAGS, **flags.get(text(v), {})}
        for k, v in named.items()
    }
    for k, v in named.items():
        config[k] = (
            text(v)
            if kind == "strings"
            else {"__type": "AddedToken", "content": text(v), **FLAGS, **flags.get(text(v), {})}
        )
    if isinstance(lists, list) and lists:
        mapped["additional_special_tokens"] = [text(t) for t in lists]
    known: set[str] = set()
    for name in ("vocab.json", "vocab.txt"):
        if name in base:
            known = (
                set(json.loads(base[name]))
                if name.endswith("json")
                else set(base[name].decode().splitlines())
            )
    if "tokenizer.json" in files:
        vocab = json.loads(files["tokenizer.json"])["model"]["vocab"]
        known |= {e[0] for e in vocab} if isinstance(vocab, list) else set(vocab)
    added = {e["content"]: int(i) for i, e in decoder.items() if e["content"] not in known}
    if added:
        files["added_tokens.json"] = dump(added)
    if not typed:
        config = {
            k: v
            for k, v in config.items()
            if k in ("do_lower_case", "model_max_length", "add_prefix_space", "strip_accents")
        }
        config |= {"init_inputs": [], "max_len": 512}
        files.pop("tokenizer.json", None)
    else:
        config |= {"special_tokens_map_file": None, "name_or_path": "some/model"}
    files["special_tokens_map.json"], files["tokenizer_config.json"] = dump(mapped), dump(config)


# --- comparing ---------------------------------------------------------------------------------------------------


def load(folder: Path) -> Files:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def outcome(files: Files, changes: list[Callable[[Files], None]]) -> tuple[str, str]:
    files = dict(files)
    for change in changes:
        change(files)
    with tempfile.TemporaryDirectory(prefix="saved") as path:
        place(Path(path), files)
        return verdict(Path(path))


def compare(folder: Path, start: int, count: int, only: str, plain: bool, shown: int) -> int:
    counts: collections.Counter[str] = collections.Counter()
    groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    names = sorted(p.name for p in folder.iterdir() if re.search(only, p.name))
    for seed in range(start, start + count):
        r = random.Random(seed)
        name = names[seed] if plain and seed < len(names) else r.choice(names)
        files = load(folder / name)
        base = (
            load(
                folder
                / (
                    "base "
                    + name.removeprefix("base ").removeprefix("4 ").removeprefix("5 ").rpartition(", ")[0]
                )
            )
            if ", " in name
            else {}
        )
        if "config.json" in base and r.random() < 0.6:
            files.setdefault("config.json", base["config.json"])  # the model is saved beside the tokenizer
        every = list(edits(random.Random(seed), files, base))
        picked = [] if plain else r.sample(every, r.choice((0, 1, 1, 1, 2, 2, 3)))
        found, detail = outcome(files, [c for _, c in picked])
        counts[found] += 1
        if found in FINE:
            continue
        for item in list(picked):  # the fewest changes that still differ
            rest = [p for p in picked if p is not item]
            again = outcome(files, [c for _, c in rest])
            if again[0] not in FINE:
                picked, (found, detail) = rest, again
        groups[found, "; ".join(n for n, _ in picked)].append(f"{seed} [{name}] {detail}")
    print(
        f"transformers {transformers.__version__}: " + ", ".join(f"{n} {k}" for k, n in counts.most_common())
    )
    for (found, changes), texts in sorted(groups.items(), key=lambda g: (g[0][0], -len(g[1]))):
        print(f"== {found} | {changes} | {len(texts)}")
        for text in texts[:shown]:
            print("     ", text[:700])
    return int(bool(groups))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("save", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1000, help="how many repositories")
    parser.add_argument("--only", default="", help="only folders whose name has this pattern")
    parser.add_argument("--show", type=int, default=3, help="how many of each kind")
    parser.add_argument("--whole", action="store_true", help="save real tokenizers only, and all of them")
    parser.add_argument("--plain", action="store_true", help="every saved folder once, as it was saved")
    args = parser.parse_args()
    if args.what == "save":
        save(args.folder, args.whole)
        return 0
    return compare(args.folder, args.start, args.count, args.only, args.plain, args.show)


if __name__ == "__main__":
    sys.exit(main())
