"""What a finding tells a user to run, as options of the planner."""

from __future__ import annotations

import re

COMMAND = re.compile(
    r"padfix fix (?P<folder>'[^']*'|\S+)(?: --strategy (\w+))?(?: --pad-token ('[^']*'|\S+))?"
)
CALL = re.compile(
    r"padfix\.ensure_pad\(model, tok(?:, strategy=\"(\w+)\")?(?:, pad_token=('[^']*'|\"[^\"]*\"))?\)"
)


def suggested(fix: str) -> dict[str, str] | None:
    """The options of the first line that a fix tells to run; None where it tells something else."""
    match = COMMAND.match(fix) or CALL.match(fix)
    if match is None:
        return None
    strategy, pad_token = match.groups()[-2:]
    return {"strategy": strategy or "auto"} | ({"pad_token": pad_token.strip("'\"")} if pad_token else {})
