"""Where a finding is, as a path that CI systems understand: relative to the working directory if it can be."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from padfix.render.escape import safe


def path_of(source: str, file: str | None) -> str:
    """The path of a file of a source, with forward slashes; the source itself where no file is named.

    >>> path_of("models/gpt2", "config.json")
    'models/gpt2/config.json'
    """
    path = Path(source)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return (path / file if file else path).as_posix()


def uri_of(source: str, file: str | None) -> str:
    """The same as a URI reference: relative, or ``file:///...`` for a path outside the working directory.

    >>> uri_of("my models/gpt2", "config.json")
    'my%20models/gpt2/config.json'
    """
    path = path_of(source, file)
    quoted = quote(safe(path))
    return f"file://{quoted}" if Path(path).is_absolute() else quoted
