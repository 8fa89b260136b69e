"""The one sanitiser: text from a repository never reaches a screen, a log or a page raw.

A token, a file name or an error message can hold an escape sequence that recolours a terminal, a
right-to-left override that turns a command around, or a line break that forges a finding.
"""

from __future__ import annotations


def safe(text: object, *, newlines: bool = False, limit: int = 4000) -> str:
    r"""The text with everything that does not print as itself spelled out, at most `limit` characters.

    Escaped are control characters (C0, DEL, C1), every format character (bidi overrides, zero-width
    and tag characters), lone surrogates, private-use and unassigned code points, line and paragraph
    separators, and every space but the ASCII one. ``newlines=True`` keeps ``\n``, for own multi-line texts.

    >>> safe("\x1b[31mred\u202e")
    '\\x1b[31mred\\u202e'
    >>> safe("a\nb"), safe("a\nb", newlines=True)
    ('a\\nb', 'a\nb')
    """
    string = str(text)
    if len(string) > limit:
        string = f"{string[:limit]}... ({len(string) - limit} more characters)"
    if string.isprintable():
        return string
    return "".join(c if c.isprintable() or (newlines and c == "\n") else _spelled(c) for c in string)


def _spelled(char: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if short is not None:
        return short
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
