"""One hub repository behind the interface of a folder, within a budget of requests and bytes.

Request 1 is the file list: revision, names, sizes, and the hash of every file. What the list already says
is not asked for again: a chat template that it quotes, a ``special_tokens_map.json`` or
``generation_config.json`` that is what `save_pretrained` writes from files read before. Such content is
used only where its git hash is the one in the list, so it is the file's content and no guess. The other
requests are spent on what rules need most (`HubSource.plan`). A file that exists but lies outside the
budget raises `NotRead`, so that a reader can tell "unknown" from "absent".

A small file is one request, a file in LFS two: the hub's storage has an address that only the hub can
tell. Two small files and a tokenizer.json of 17 MB are then one more than the four; `plan` says which
goes without.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from padfix.hub.cache import BlobCache
from padfix.hub.client import Client
from padfix.hub.complete import Completed, complete, complete_declared
from padfix.hub.complete_vocab import declared_pieces
from padfix.hub.errors import HubError
from padfix.hub.fetch import Fetcher, NotRead
from padfix.hub.file_list import Listing, RemoteFile, fetch_listing, split_name
from padfix.hub.hashes import matches
from padfix.hub.predict import as_object, predictions
from padfix.hub.vocabulary import Ends, Wanted, text_of, written_ids

REQUESTS: Final = 4  # per repository, the file list among them
BYTES: Final = 300_000
HEAD: Final = (
    216 * 1024
)  # of tokenizer.json: its vocabulary begins at 209 kB in DeepSeek V3, at 1.2 MB in Gemma 3
HEADER: Final = 64 * 1024  # of safetensors; 200 to 600 tensors
OPTIONAL: Final = (
    "special_tokens_map.json",
    "generation_config.json",
    "adapter_config.json",
    "added_tokens.json",
)
"""Files without which the rest still tells something, in the order in which they are worth a request."""
_BESIDE_DECODER: Final = frozenset(
    {"special_tokens_map.json", "added_tokens.json"}
)  # an added_tokens_decoder
_WEIGHTS: Final = (".safetensors", ".gguf", ".bin", ".pt", ".h5")
_SMALL: Final = ("vocab.json", "vocab.txt")  # vocabularies; not in LFS but where they are huge
_PIECES: Final = (".model", ".spm")
_FORETOLD: Final = 2**20  # bytes of a config from which others are foretold where there is no bound
_TEMPLATE: Final = "chat_template.jinja"
_TEMPLATES: Final = "additional_chat_templates/"
_MOST_TEMPLATES: Final = 64  # as many as the reader takes
_CONFIG: Final = "tokenizer_config.json"
_CONFIG_WHOLE: Final = 100_000  # bytes of tokenizer_config.json that are read as a whole; see `_fetch_tail`
_CONFIG_TAIL: Final = 48 * 1024
_NUMBERED: Final = re.compile(rb'\n    "\d+": \{')  # an entry of added_tokens_decoder, and of nothing else


class HubSource:
    """The files of one repository at one revision, as `padfix.read.source.Source` wants them.

    ``requests`` (the file list is the first) and ``n_bytes`` bound what it spends; None: no bound. With a
    bound, a large vocabulary is handed out as `complete` makes it of its ends, and ``completed`` says so.
    """

    def __init__(
        self,
        client: Client,
        spec: str,
        *,
        requests: int | None = REQUESTS,
        n_bytes: int | None = BYTES,
        cache: BlobCache | None = None,
        listing: Listing | None = None,
    ) -> None:
        self.spec = spec
        self.listing = listing or fetch_listing(client, spec)
        self._fetcher = Fetcher(
            client, spec, self.listing, cache,
            requests=None if requests is None else max(0, requests - 1),
            # headers and redirects of a request are about 1.5 kB
            n_bytes=None if n_bytes is None else max(0, n_bytes - self.listing.received - 1500 * (requests or 8)),
        )  # fmt: skip
        self._known: dict[str, bytes] = {}  # whole files
        self._heads: dict[str, bytes] = {}  # beginnings of files
        self._planned = False
        self.unread: tuple[str, ...] = ()  # of `OPTIONAL`: there, and not read
        self._idle: frozenset[str] = frozenset()  # of `OPTIONAL`: there, and never asked by transformers
        self.completed: Completed | None = None  # where only a part of the vocabulary was read
        self.completed_file = ""  # of what
        self.declared_only = False  # nothing of that file was read, only what tokenizer_config.json declares
        self.tail_only = False  # of tokenizer_config.json
        self.summarised = False  # config.json was not read: of it only what the file list quotes is known
        self.templates: tuple[
            str, ...
        ] = ()  # chat templates that were not read: placeholders stand in for them

    @property
    def name(self) -> str:
        """``org/name@revision``, the revision being the commit that was read."""
        return f"{self.listing.id}@{self.listing.sha}"

    @property
    def failure(self) -> HubError | None:
        """The first error that another try, later, may not meet."""
        return self._fetcher.failure

    def names(self) -> tuple[str, ...]:
        """Every file's name, sorted, without those that the budget left `unread` and a reader can do without."""
        self.plan()
        return tuple(sorted(self.listing.files.keys() - self._idle - set(self.unread)))

    def size(self, name: str) -> int:
        """Bytes in a file, by the file list."""
        size = self._file(name).size
        self.plan()
        if name in self._known:
            return len(self._known[name])
        if size is None:
            return len(self.read(name, BYTES))
        return size

    def read(self, name: str, limit: int) -> bytes:
        """A whole file of at most ``limit`` bytes."""
        file = self._file(name)
        self.plan()
        if name in self._known:
            return self._known[name]
        if file.size is not None and file.size > limit:
            raise HubError(
                "too-large",
                f"{self.spec}: {name} has {file.size:,} bytes, more than the {limit:,} that are read",
            )
        self._fetch(file, limit)
        return self._known[name]

    def range(self, name: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from ``start``; fewer where the file ends."""
        file = self._file(name)
        self.plan()
        if name in self._known:
            return self._known[name][start : start + length]
        if self._fetcher.requests is None and file.size is not None and not name.endswith(_WEIGHTS):
            self._fetch(file, file.size)  # a reader wants most of it, and a whole file can be verified
            return self._known[name][start : start + length]
        head = self._heads.get(name, b"")
        if start + length > len(head) and not (file.size is not None and len(head) == file.size):
            head = self._fetch_head(file, start + length)
        return head[start : start + length]

    # -- what to spend the budget on --------------------------------------------------------------

    def plan(self) -> None:
        """Spend the budget on what rules need most, once, before the first read.

        1. config.json, then tokenizer_config.json: they decide which tokenizer class it is.
        2. What the list's hashes let be known without asking.
        3. The head of tokenizer.json, or the ends of the vocabulary that the class reads.
        4. special_tokens_map.json; generation_config.json; weights' headers.

        Where a vocabulary in LFS does not fit beside both configs, tokenizer_config.json comes first. If it
        writes the special tokens and their ids, config.json is next and the vocabulary is left out; if not,
        the vocabulary is, and of config.json what the file list quotes is taken for the class alone.
        """
        if self._planned:
            return
        self._planned = True
        self._predict()
        if self._fetcher.requests is None:
            for name in ("config.json", _CONFIG):
                file = self.listing.files.get(name)
                if file is not None and file.size is not None and file.size <= _FORETOLD:
                    self._quietly(name)
            self._predict()
            return
        far = self._far()
        if not far:
            self._quietly("config.json")
        self._quietly(_CONFIG)
        if far and (self._declares() or not self._summarise()):
            self._quietly("config.json")
        if self.tail_only or "added_tokens_decoder" in as_object(self._known.get(_CONFIG)):
            self._idle = _BESIDE_DECODER
        self._predict()
        wanted = self._wanted()
        if wanted is not None and wanted.file == "tokenizer.json":
            self._quietly("tokenizer.json", head=HEAD)
            self._complete()
        elif wanted is not None:
            self._vocabulary(wanted, wanted.ends())
            if self._idle and wanted.placed:
                self.unread = ("tokenizer.json",)  # of a class that loads without it
        self._predict()
        for name in (n for n in OPTIONAL if n not in self._idle):
            self._quietly(name)
        self._quietly("model.safetensors.index.json")
        self._templates()
        for name in ("model.safetensors", "adapter_model.safetensors"):
            self._quietly(name, head=HEADER)
        if wanted is not None and self.completed is not None and wanted.file == self.completed_file:
            self._vocabulary(wanted, wanted.rest())
        left = self.listing.files.keys() - self._known.keys() - self._idle
        self.unread = tuple(n for n in (*self.unread, *OPTIONAL) if n in left)

    def _quietly(self, name: str, head: int | None = None) -> None:
        """Fetch if it is there and the budget allows; a reader that asks again is told why it was not."""
        file = self.listing.files.get(name)
        if file is None or name in self._known:
            return
        if head is not None and self._fetcher.n_bytes is not None:
            head = min(head, self._fetcher.n_bytes)
        size = min(head or 2**62, _CONFIG_TAIL if name == _CONFIG else 2**62, file.size or 0)
        if head == 0 or not self._fetcher.affords(file, size):
            return
        if head is not None and (file.size is None or file.size > head):
            self._fetch_head(file, head)
        else:
            self._fetch(file, BYTES)

    def _far(self) -> bool:
        """True when the vocabulary costs more requests than both configs leave for it."""
        files = self.listing.files
        vocabularies = [files[n] for n in ("tokenizer.json",) if n in files] or [
            file for name, file in files.items() if name in _SMALL or name.endswith(_PIECES)
        ]
        if not vocabularies or self._fetcher.requests is None:
            return False
        first = sum(name in files and name not in self._known for name in ("config.json", _CONFIG))
        return first + min(map(self._fetcher.cost, vocabularies)) > self._fetcher.requests

    def _declares(self) -> bool:
        """True when tokenizer_config.json settles the pad, and writes the ids of added tokens, by itself."""
        own = as_object(self._known.get(_CONFIG))
        ids = written_ids(own, {})
        if "tokenizer.json" not in self.listing.files:
            return bool(ids)
        if str(own.get("tokenizer_class")).removesuffix("Fast") == "LlamaTokenizer":
            return False  # of which kind it is depends on tokenizer.json
        # where no pad is named, one may be in tokenizer.json's padding block
        pad = own.get("pad_token", "")
        return bool(ids) and (pad is None or text_of(pad) in ids)

    def _summarise(self) -> bool:
        """Let config.json be what the file list quotes of it, if that is enough to tell the class."""
        kind = self.listing.config.get("model_type")
        named = as_object(self._known.get(_CONFIG)).get("tokenizer_class")
        if not isinstance(kind, str) or not isinstance(named, str) or "config.json" not in self.listing.files:
            return False
        if split_name(self.spec)[1] is not None:
            return False  # a quotation is of main, whatever the revision
        quoted = {"model_type": kind, "architectures": self.listing.config.get("architectures")}
        self._known["config.json"] = json.dumps({**quoted, "pad_token_id": None}).encode()
        self.summarised = True
        return True

    def _wanted(self) -> Wanted | None:
        parsed = {name: as_object(self._known.get(name)) for name in ("config.json", _CONFIG, *OPTIONAL)}
        return Wanted.of(self.name, self.listing.files.keys(), parsed)

    def _templates(self) -> None:
        """Chat templates that the list does not quote: read where a request is left, else known to be there."""
        more = sorted(n for n in self.listing.files if n.startswith(_TEMPLATES) and n.endswith(".jinja"))
        for name in (_TEMPLATE, *more[:_MOST_TEMPLATES]):
            self._quietly(name)
            if name in self.listing.files and name not in self._known:
                self._known[name] = b"" if self.listing.files[name].size == 0 else b"{# not read #}"
                self.templates += (name,)

    def _complete(self) -> None:
        """Make a whole tokenizer.json of the head, or of the added tokens that tokenizer_config.json declares.

        Where neither is known the reader is told that it was not read.
        """
        size = as_object(self._known.get("config.json")).get("vocab_size")
        size = size if isinstance(size, int) and not isinstance(size, bool) else None
        declared = as_object(self._known.get(_CONFIG))
        head = self._heads.get("tokenizer.json")
        if head is not None:
            self._completed_as("tokenizer.json", complete(head, size, written_ids(declared, {})))
        elif "tokenizer.json" not in self._known and self._declares():
            self._completed_as("tokenizer.json", complete_declared(declared["added_tokens_decoder"], size))
            self.declared_only = self.completed is not None

    def _vocabulary(self, wanted: Wanted, ends: Ends) -> None:
        """Read the ends of a vocabulary file, or all of it where it is small, and make it whole."""
        file = self.listing.files[wanted.file]
        if file.size is None or (wanted.file in self._known and self.completed is None):
            return
        if self.completed is None and self._fetcher.affords(file, file.size):
            self._known[file.name] = self._fetcher.whole(file, BYTES)
            return
        for end, length in ends:
            if not wanted.lacks(end) or not self._fetcher.affords(file, 1):
                continue
            if self._fetcher.n_bytes is not None:
                length = min(length, self._fetcher.n_bytes)
            start = 0 if end == "head" else max(0, file.size - length)
            wanted.take(end, self._fetcher.part(file, start, length))
            self._completed_as(wanted.file, wanted.completed() or self.completed)
        if not wanted.read and wanted.file.endswith(_PIECES) and self._declares():
            self._completed_as(wanted.file, declared_pieces(wanted.written, wanted.bound))
            self.declared_only = self.completed is not None
        if (
            self.completed is not None
            and wanted.file.endswith(".json")
            and "merges.txt" in self.listing.files
        ):
            self._known["merges.txt"] = b""  # what merges give is not asked of half a vocabulary

    def _completed_as(self, name: str, completed: Completed | None) -> None:
        if completed is not None:
            self.completed, self.completed_file = completed, name
            self._known[name] = completed.document

    def _predict(self) -> None:
        """Know a file without asking, where its hash in the list proves it."""
        for name, candidates in predictions(self._known, self.listing.config, self.listing.id):
            file = self.listing.files.get(name)
            if file is None or file.digest is None or name in self._known or name in self._idle:
                continue
            for data in candidates:
                if len(data) == (file.size if file.size is not None else len(data)) and matches(
                    data, file.digest
                ):
                    self._known[name] = data
                    break

    # -- fetching ---------------------------------------------------------------------------------

    def _file(self, name: str) -> RemoteFile:
        try:
            return self.listing.files[name]
        except KeyError:
            raise HubError("no-file", f"{self.spec}: {name} is not in the repository") from None

    def _fetch(self, file: RemoteFile, limit: int) -> None:
        """A whole file; of a large tokenizer_config.json the end."""
        size, left = file.size, self._fetcher.n_bytes
        if file.name == _CONFIG and size is not None and left is not None:
            most = min(left, _CONFIG_WHOLE) if "tokenizer.json" in self.listing.files else left
            if size > most:
                self._known[file.name] = self._fetch_tail(file, size)
                return
        self._known[file.name] = self._fetcher.whole(file, limit)

    def _fetch_head(self, file: RemoteFile, length: int) -> bytes:
        """The beginning of a file."""
        wanted = max(length, HEADER if file.name.endswith(".safetensors") else 0)
        head = self._fetcher.part(file, 0, wanted)
        if head:
            self._heads[file.name] = head
        return head

    def _fetch_tail(self, file: RemoteFile, size: int) -> bytes:
        """The last keys of a large tokenizer_config.json, as JSON of their own.

        Gemma 3's has 1.2 MB of ``added_tokens_decoder``, which tokenizer.json repeats; the special tokens,
        the padding side and the class come after it. Only for files written with an indent of two.
        """
        length = min(size, _CONFIG_TAIL)
        tail = self._fetcher.part(file, size - length, length)
        match = re.search(rb'\n  (?=")', tail)
        data = b"{" + tail[match.end() :] if match else b""
        try:
            parsed: Any = json.loads(data)
        except (ValueError, RecursionError):
            parsed = None
        if match is None or not isinstance(parsed, dict) or not _NUMBERED.search(tail, 0, match.start()):
            raise NotRead(f"{file.name} was not read: it has {size:,} bytes")
        self.tail_only = True
        return data
