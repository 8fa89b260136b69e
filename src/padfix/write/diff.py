"""The change of a file as a unified diff: short and fast on half a million lines, or on one of ten megabytes."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

_CONTEXT: Final = 3
_LONG: Final = 400  # characters; a minified tokenizer.json is one line of megabytes


def unified(name: str, old: str, new: str) -> str:
    """A unified diff that stays short and fast on a file of half a million lines or one of ten megabytes."""
    before, after = _lines(old), _lines(new)
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    # an added block may slide up over lines that repeat, so there is room for its own length above it
    room = _CONTEXT + min(200, max(len(before), len(after)) - head - tail)
    start = max(0, head - room)
    end = max(0, tail - _CONTEXT)
    cut = slice(start, len(before) - end), slice(start, len(after) - end)
    a, b = _windows(before[cut[0]], after[cut[1]])
    lines = difflib.unified_diff(a, b, f"a/{name}" if old else "/dev/null", f"b/{name}", n=_CONTEXT)
    return "".join(_shifted(lines, start))


def _lines(text: str) -> list[str]:
    """Lines as `patch` sees them: a token may hold U+2028 or a form feed, which `str.splitlines` would cut at."""
    return io.StringIO(text, newline="\n").readlines()


def _common(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Length of the common beginning. By halves: comparing slices takes 10 ms for 17 MB, a loop over characters 1 s."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _windows(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """Cut a long line to the part around its change."""
    if max((len(line) for line in (*before, *after)), default=0) <= _LONG:
        return before, after
    old, new = "".join(before), "".join(after)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    start = max(0, head - 80)

    def window(text: str) -> list[str]:
        end = min(len(text), len(text) - tail + 80)
        return [f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}\n"]

    return window(old), window(new)


def _shifted(lines: Iterator[str], offset: int) -> Iterator[str]:
    """Hunk headers with true line numbers, and a note where a file ends without a line break."""
    for line in lines:
        if line.startswith("@@ "):
            yield " ".join(_moved(part, offset) if part[:1] in "-+" else part for part in line.split(" "))
        elif line.endswith("\n"):
            yield line
        else:
            yield f"{line}\n\\ No newline at end of file\n"


def _moved(span: str, offset: int) -> str:
    line, comma, count = span[1:].partition(",")
    return f"{span[0]}{int(line) + offset}{comma}{count}"
