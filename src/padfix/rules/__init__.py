"""The rule catalogue: importing it registers every rule; `check` runs them.

Each module is found by itself: ``identity`` and ``persistence`` 0xx, ``weights`` and ``trained_rows`` 1xx,
``agreement`` 2xx, ``inference`` 3xx, ``labels``, ``masking`` and ``steps`` 4xx, ``architecture`` 5xx,
``deployment`` 6xx; ``collated`` adds what a batch shows to rules of other families.
"""

from __future__ import annotations

import importlib
import pkgutil

from padfix.rules.registry import (
    READS,
    RULES,
    TASKS,
    Hit,
    Rule,
    Task,
    also,
    check,
    check_pair,
    check_verdict,
    default_task,
    in_order,
    resolve,
    rule,
    show,
)

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = [
    "READS",
    "RULES",
    "TASKS",
    "Hit",
    "Rule",
    "Task",
    "also",
    "check",
    "check_pair",
    "check_verdict",
    "default_task",
    "in_order",
    "resolve",
    "rule",
    "show",
]
