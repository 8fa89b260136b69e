"""What the local hub serves: repositories from folders, made up by the thousand, and hostile ones.

A blob knows its git object id, its sha256 and whether a hub would keep it in LFS; the ids are real
hashes, so a client may verify what it downloads. Weights are sparse: a true safetensors header, then
zeros that exist only while they are sent.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LFS_SUFFIXES = (".safetensors", ".bin", ".model", ".onnx", ".pt", ".h5", ".gguf", ".spm")
LFS_SIZE = 10 * 1024 * 1024
TOKEN_KEYS = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "chat_template",
    "use_default_system_prompt",
)  # fmt: skip


@dataclass
class Blob:
    """One file's content; loaded on demand, hashed once."""

    path: str
    size: int
    load: Callable[[], bytes]
    sparse: bool = False
    tracked: bool = False  # .gitattributes puts it in LFS

    @property
    def lfs(self) -> bool:
        return self.tracked or self.path.endswith(LFS_SUFFIXES) or self.size >= LFS_SIZE

    @functools.cached_property
    def sha256(self) -> str:
        # a sparse file of gigabytes is not worth hashing: the hash of its head is unique enough
        return hashlib.sha256(self.read(0, min(self.size, 10**6)) if self.sparse else self.load()).hexdigest()

    @functools.cached_property
    def oid(self) -> str:
        """The git blob id; for an LFS file that of its pointer, as on the real hub."""
        if self.lfs:
            pointer = (
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
            )
            return git_oid(pointer.encode())
        return git_oid(self.load())

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def read(self, start: int, stop: int) -> bytes:
        data = self.load()[start:stop]
        return data + bytes(max(0, min(stop, self.size) - start - len(data))) if self.sparse else data


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def blob(path: str, data: bytes | str | Mapping[str, Any]) -> Blob:
    raw = data.encode() if isinstance(data, str) else data if isinstance(data, bytes) else dumps(data)
    return Blob(path, len(raw), lambda: raw)


def dumps(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def weights(path: str, tensors: Mapping[str, tuple[int, ...]]) -> Blob:
    """A safetensors file with these float16 tensors: the header is true, the numbers are zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        length = 2
        for n in shape:
            length *= n
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    raw = json.dumps(header).encode()
    head = len(raw).to_bytes(8, "little") + raw
    return Blob(path, len(head) + offset, lambda: head, sparse=True)


@dataclass
class PullRequest:
    num: int
    title: str
    description: str
    files: dict[str, Blob | None]  # None: deleted
    sha: str


@dataclass
class Repository:
    """A repository at one commit. ``behaviour`` names a way in which its server side misbehaves."""

    id: str
    files: Mapping[str, Blob]
    sha: str = ""
    private: bool = False
    gated: bool | str = False
    disabled: bool = False
    downloads: int = 0
    likes: int = 0
    tags: tuple[str, ...] = ("transformers",)
    behaviour: str = ""
    pulls: list[PullRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sha = (
            self.sha or hashlib.sha1(f"commit 1 of {self.id}".encode(), usedforsecurity=False).hexdigest()
        )

    @property
    def author(self) -> str:
        return self.id.split("/")[0] if "/" in self.id else ""

    def at(self, revision: str) -> tuple[str, Mapping[str, Blob]] | None:
        """The commit and files of a revision, or None where there is no such revision."""
        if revision in ("main", "HEAD", self.sha) or (len(revision) >= 7 and self.sha.startswith(revision)):
            return self.sha, self.files
        for pull in self.pulls:
            if revision in (f"refs/pr/{pull.num}", pull.sha):
                merged = {**self.files, **pull.files}
                return pull.sha, {path: b for path, b in merged.items() if b is not None}
        return None

    def json(self, path: str) -> dict[str, Any]:
        """A JSON file as the hub's own indexer reads it: what does not parse counts as empty."""
        if path not in self.files or self.files[path].size > 2_000_000:
            return {}
        try:
            value = json.loads(self.files[path].load())
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def config(self) -> dict[str, Any] | None:
        """The ``config`` of a listing: not config.json, but a few of its keys and the special tokens."""
        config, tok = self.json("config.json"), self.json("tokenizer_config.json")
        shown = {
            k: config[k]
            for k in ("architectures", "model_type", "auto_map", "quantization_config")
            if k in config
        }
        if "tokenizer_config.json" in self.files:
            shown["tokenizer_config"] = {k: tok[k] for k in TOKEN_KEYS if k in tok}
        if "chat_template.jinja" in self.files:
            shown["chat_template_jinja"] = self.files["chat_template.jinja"].load().decode("utf-8", "replace")
        if "adapter_config.json" in self.files:
            adapter = self.json("adapter_config.json")
            shown["peft"] = {k: adapter[k] for k in ("base_model_name_or_path", "task_type") if k in adapter}
        return shown or None


def from_folder(repo_id: str, folder: Path, **options: Any) -> Repository:
    """Serve a folder as a repository."""
    files = {}
    rules = folder / ".gitattributes"
    lines = rules.read_text().splitlines() if rules.is_file() else []
    tracked = {line.split()[0] for line in lines if "filter=lfs" in line}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = Blob(name, path.stat().st_size, path.read_bytes, tracked=name in tracked)
    return Repository(repo_id, files, **options)


def from_corpus(root: Path) -> Iterator[Repository]:
    """Every ``family/name`` folder below ``root`` as the repository ``family/name``."""
    for folder in sorted(p for p in root.glob("*/*") if p.is_dir()):
        yield from_folder(f"{folder.parent.name}/{folder.name}", folder, downloads=1000)


# ---------------------------------------------------------------------------------------------------
# made up by the thousand

KINDS = (
    "gpt2-no-pad", "bert", "llama-reserved", "pad-is-eos", "pad-out-of-range", "pad-disagrees", "t5", "adapter",
    "sharded", "tokenizer-only", "weights-only", "malformed", "gated", "private", "disabled",
)  # fmt: skip
COMMON = (
    "gpt2-no-pad",
    "bert",
    "llama-reserved",
    "pad-is-eos",
    "pad-out-of-range",
    "pad-disagrees",
    "t5",
    "sharded",
)


def synthetic_id(index: int) -> str:
    return f"org-{index % 50:02d}/model-{index:05d}"


def synthetic_kind(index: int, seed: int = 0) -> str:
    draw = random.Random(f"{seed}:{index}")
    return draw.choice(KINDS) if draw.random() < 0.2 else draw.choice(COMMON)


def _words(n: int) -> list[str]:
    return [f"w{i}" for i in range(n)]


@functools.cache
def _tokenizer_json(specials: tuple[str, ...], n: int, tail: tuple[str, ...] = ()) -> bytes:
    """A small WordLevel tokenizer: the special tokens first, words, then the tokens of ``tail``."""
    vocab = {token: i for i, token in enumerate((*specials, *_words(n - len(specials) - len(tail)), *tail))}
    added = [
        {"id": vocab[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for t in (*specials, *tail)
    ]  # fmt: skip
    return dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": specials[0]},
    })  # fmt: skip


@functools.lru_cache(maxsize=4096)
def synthetic(index: int, seed: int = 0) -> Repository:
    """Made-up repository number ``index``: the same for the same seed, of one of `KINDS`."""
    kind, repo_id, rows = synthetic_kind(index, seed), synthetic_id(index), 512
    specials: tuple[str, ...] = ("<unk>", "<s>", "</s>")
    tail: tuple[str, ...] = ()
    model_type, arch = "llama", "LlamaForCausalLM"
    tok: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>",
                           "eos_token": "</s>", "model_max_length": 1024}  # fmt: skip
    ids: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2}
    if kind == "gpt2-no-pad":
        model_type, arch = "gpt2", "GPT2LMHeadModel"
    elif kind == "bert":
        model_type, arch, specials = "bert", "BertForMaskedLM", ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
        tok = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
               "pad_token": "[PAD]", "mask_token": "[MASK]"}  # fmt: skip
        ids = {"pad_token_id": 3}
    elif kind == "t5":
        model_type, arch, specials = "t5", "T5ForConditionalGeneration", ("<unk>", "</s>", "<pad>")
        tok = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
        }
        ids = {"eos_token_id": 1, "pad_token_id": 2, "decoder_start_token_id": 2}
    elif kind == "llama-reserved":
        tail = tuple(f"<|reserved_special_token_{i}|>" for i in range(8))
    elif kind == "pad-is-eos":
        tok["pad_token"], ids["pad_token_id"] = "</s>", 2
    elif kind == "pad-out-of-range":
        tail, tok["pad_token"], ids["pad_token_id"], rows = ("[PAD]",), "[PAD]", 511, 511
    elif kind == "pad-disagrees":
        tail, tok["pad_token"], ids["pad_token_id"] = ("<pad>",), "<pad>", 0
    config = {
        "architectures": [arch],
        "model_type": model_type,
        "vocab_size": rows,
        **ids,
        "tie_word_embeddings": True,
    }
    if model_type == "t5":
        config.update(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2)
    files: dict[str, bytes | Blob] = {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": f"# {repo_id}\n".encode(),
        "config.json": dumps(config),
        "tokenizer.json": _tokenizer_json(specials, 512, tail),
        "tokenizer_config.json": dumps(tok),
    }
    if index % 2:
        files["special_tokens_map.json"] = dumps(
            {k: v for k, v in sorted(tok.items()) if k.endswith("_token")}
        )
    if arch.endswith(("CausalLM", "LMHeadModel")):
        generation = {"_from_model_config": True, **ids, "transformers_version": "4.57.6"}
        files["generation_config.json"] = dumps(generation)
    embed = {
        "gpt2": "transformer.wte.weight",
        "bert": "bert.embeddings.word_embeddings.weight",
        "t5": "shared.weight",
    }
    name = embed.get(model_type, "model.embed_tokens.weight")
    layers = {f"model.layers.{i}.mlp.weight": (64, 64) for i in range(4)}
    files["model.safetensors"] = weights("model.safetensors", {name: (rows, 16), **layers})
    if kind == "sharded":
        del files["model.safetensors"]
        first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
        files[first] = weights(first, {name: (rows, 16)})
        files[second] = weights(second, layers)
        where = {name: first, **dict.fromkeys(layers, second)}
        files["model.safetensors.index.json"] = dumps({"metadata": {"total_size": 0}, "weight_map": where})
    elif kind == "adapter":
        for path in ("config.json", "model.safetensors", "generation_config.json"):
            files.pop(path, None)
        files["adapter_config.json"] = dumps(
            {"peft_type": "LORA", "base_model_name_or_path": synthetic_id(0), "r": 8}
        )
        adapter = {"base_model.model.model.embed_tokens.weight": (rows, 16)}
        files["adapter_model.safetensors"] = weights("adapter_model.safetensors", adapter)
    elif kind == "tokenizer-only":
        files = {k: v for k, v in files.items() if k.startswith(("tokenizer", "special", "README"))}
    elif kind == "weights-only":
        files = {k: v for k, v in files.items() if "token" not in k}
    elif kind == "malformed":
        files["tokenizer_config.json"] = b'{"pad_token": "<pad>", "oops": [1, 2'
    blobs = {path: v if isinstance(v, Blob) else blob(path, v) for path, v in files.items()}
    return Repository(
        repo_id, blobs, private=kind == "private", gated="auto" if kind == "gated" else False,
        disabled=kind == "disabled", downloads=10_000_000 // (index + 1), likes=index % 97,
        tags=("transformers", model_type, "safetensors"),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------
# hostile

BEHAVIOURS = (
    "endless", "gzip-bomb", "redirect-loop", "redirect-elsewhere", "redirect-file", "lying-short", "lying-long",
    "ignores-range", "wrong-range", "wrong-content", "html", "no-etag", "header-bomb", "endless-info", "deep-info",
    "scalar-info", "gzip-bomb-info", "info-loop", "slow-drip", "bad-status",
)  # fmt: skip


def hostile() -> Iterator[Repository]:
    """One well-formed repository per way in which a server can misbehave, as ``hostile/<behaviour>``."""
    good = synthetic(2, 1)
    for behaviour in BEHAVIOURS:
        yield dataclasses.replace(good, id=f"hostile/{behaviour}", sha="", behaviour=behaviour, private=False,
                                  gated=False, disabled=False, pulls=[])  # fmt: skip


class Repositories:
    """All that a hub holds: repositories by id, renames, and the made-up ones on demand."""

    def __init__(
        self, repos: Iterator[Repository] | list[Repository], n_synthetic: int = 0, seed: int = 0
    ) -> None:
        self.real = {repo.id: repo for repo in repos}
        self.n, self.seed = n_synthetic, seed
        self.index = {synthetic_id(i): i for i in range(n_synthetic)}
        self.deleted: set[str] = set()

    def get(self, repo_id: str) -> Repository | None:
        if repo_id in self.deleted:
            return None
        if repo_id in self.real:
            return self.real[repo_id]
        if repo_id in self.index:
            return synthetic(self.index[repo_id], self.seed)
        return None

    def moved(self, repo_id: str) -> str | None:
        """Where a renamed repository lives now."""
        if repo_id.startswith("old-") and self.get(repo_id.removeprefix("old-")) is not None:
            return repo_id.removeprefix("old-")
        return None

    def own(self, repo: Repository) -> Repository:
        """The repository as one that may be written to (a made-up one is kept from now on)."""
        return self.real.setdefault(repo.id, repo)

    def __iter__(self) -> Iterator[Repository]:
        yield from self.real.values()
        yield from (synthetic(i, self.seed) for name, i in self.index.items() if name not in self.real)
