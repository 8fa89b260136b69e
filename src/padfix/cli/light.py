"""Commands whose options are light: a value that has its type already is not checked again.

typer 0.27 and later check every value of every option with pydantic, also None and strings, and importing
that takes a fifth of the time of a small audit (80 of 400 ms).
"""

from __future__ import annotations

from typing import Any

import typer.core


class Command(typer.core.TyperCommand):
    """A command with light options."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, help included."""
        return [_lighten(parameter) for parameter in super().get_params(ctx)]


class Group(typer.core.TyperGroup):
    """The app itself, with light options."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, help included."""
        return [_lighten(parameter) for parameter in super().get_params(ctx)]


def _lighten(parameter: Any) -> Any:
    """Where typer does not say what type an option has, or a value needs a conversion, typer checks it."""
    descriptor = getattr(parameter, "type_descriptor", None)
    if descriptor is None or parameter.required or "process_value" in vars(parameter):
        return parameter
    annotation, callback, checked = descriptor.annotation, parameter.callback, parameter.process_value
    several = parameter.multiple or parameter.nargs == -1

    def process_value(ctx: Any, value: Any) -> Any:
        if value is None:
            found: Any = () if several else None
        elif annotation == list[str] and all(isinstance(item, str) for item in value):
            found = list(value)
        elif annotation in (bool, int, str) and isinstance(value, annotation):
            found = value
        else:
            return checked(ctx, value)
        return found if callback is None else callback(ctx, parameter, found)

    parameter.process_value = process_value
    return parameter
