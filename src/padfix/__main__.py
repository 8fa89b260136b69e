"""``python -m padfix``: the command line."""

from __future__ import annotations

from padfix.cli.main import main

if __name__ == "__main__":
    main()
