"""The flags every command takes, before or after the command's name, and what every help page ends with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from reconciler import errors
from reconciler.core import quantities

F = TypeVar("F", bound=Callable[..., Any])

TRACE = "perdure.trace"
"""Key of the root context's `meta`: whether a stack trace is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says about the configuration; None: nothing."""

    config: str | None = None
    repo: str | None = None
    ref: str | None = None
    instance: str | None = None
    data: str | None = None
    output: str = "text"

    def settings(self) -> dict[str, str]:
        """Return the settings that flags give, by dotted path."""
        given = {"source.repository": self.repo, "source.ref": self.ref, "instance": self.instance, "data": self.data}
        return {path: value for path, value in given.items() if value is not None}


NAMES = {"source.repository": "--repo", "source.ref": "--ref", "instance": "--instance", "data": "--data"}
"""The flag that gives a setting, by dotted path."""


def common(*formats: str) -> Callable[[F], F]:
    """Give a command the common flags, which arrive as the context's object (`click.pass_obj`), and `-o` with `formats`."""

    def decorate(function: F) -> F:
        if formats:
            function = _option("-o", "--output", type=click.Choice(formats), help=f"How to print it. [default: {formats[0]}]")(
                function
            )
        for names, metavar, text in reversed(_COMMON):
            function = _option(*names, metavar=metavar, help=text)(function)
        return function

    return decorate


_COMMON = (
    (("--config",), "FILE", "Configuration of the reconciler. [env: PERDURE_CONFIG]"),
    (("--repo",), "WHERE", "Repository: a path, or a file://, ssh:// or https:// URL."),
    (("--ref",), "REF", "Branch, tag or commit."),
    (("--instance",), "NAME", "Name of the reconciler, where there are several."),
    (("--data",), "DIR", "Data directory."),
)


class Count(click.IntRange):
    """A whole number within bounds, and told as that."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        bounds = f"from {self.min} to {self.max}" if self.max is not None else f"of at least {self.min}"
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is not a whole number {bounds}", param, ctx)


def _option(*names: str, metavar: str | None = None, type: click.ParamType[Any] | None = None, help: str) -> Callable[[F], F]:
    return click.option(*names, metavar=metavar, type=type, help=help, expose_value=False, callback=_keep)


def _keep(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Put a given flag into the context's flags; one given after the command's name overrides one before it."""
    flags = ctx.obj if isinstance(ctx.obj, Flags) else Flags()
    ctx.obj = dataclasses.replace(flags, **{parameter.name: value}) if value is not None and parameter.name else flags


class Argument(click.Argument):
    """One that must not be empty: it comes from an unset variable of a shell, and would name the folder one stands in."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return it as its type has it. Raises `errors.UsageError`."""
        if value == "" or (isinstance(value, (tuple, list)) and "" in value):
            raise errors.UsageError(
                "it is empty",
                where=self.metavar or self.human_readable_name,
                remedy="If it comes from a variable of your shell, see whether that is set.",
            )
        return super().process_value(ctx, value)


argument = functools.partial(click.argument, cls=Argument)


def duration(text: str, flag: str) -> float:
    """Return the seconds of a duration that was given to `flag`, as manifests write it. Raises `errors.UsageError`."""
    if not quantities.DURATION.fullmatch(text):
        meant = quantities.proper_duration(text)
        raise errors.UsageError(
            f"{text!r} is not a duration",
            where=flag,
            remedy=f"Did you mean {meant}?" if meant else "Write it as 30s, 5m or 1h30m: longest unit first, each once.",
        )
    return quantities.seconds(text)


def examples(*lines: str) -> str:
    """Return the end of a help page: lines to try."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
