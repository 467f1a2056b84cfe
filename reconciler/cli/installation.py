"""`perdure version`, `perdure completion` and `perdure config`: about this installation, not about jobs."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator
from typing import Any

import click

import reconciler
from reconciler import config as values
from reconciler import errors
from reconciler.cli import compose, options, output

SHELLS = ("bash", "zsh", "fish")


@click.command(epilog=options.examples("perdure version", "perdure version -o json"))
@options.common("text", "json", "yaml")
@click.pass_obj
def version(flags: options.Flags) -> None:
    """Show the version."""
    document = {
        "version": reconciler.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
    }
    text = f"perdure {reconciler.__version__} (Python {document['python']}, {document['platform']})"
    output.show(flags.output, document, lambda: text)


@click.command(
    epilog=options.examples(
        'eval "$(perdure completion bash)"                                      in ~/.bashrc',
        'eval "$(perdure completion zsh)"                                       in ~/.zshrc',
        "perdure completion fish > ~/.config/fish/completions/perdure.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell. It completes commands, flags and the names of jobs."""
    from click import shell_completion

    kind = shell_completion.get_completion_class(shell)
    if kind is None:
        raise errors.UsageError(f"there is no completion for {shell}", remedy=f"There is one for {', '.join(SHELLS)}.")
    output.line(kind(ctx.find_root().command, {}, "perdure", "_PERDURE_COMPLETE").source())


@click.command(
    epilog=options.examples("perdure config", "perdure config --config /etc/perdure.yaml -o json"),
)
@options.common("text", "json", "yaml")
@click.pass_obj
def config(flags: options.Flags) -> None:
    """Show the effective configuration and where each value comes from; secrets as ***."""
    settings = compose.settings(flags)
    rows = list(effective(settings))
    document = {"values": [{"path": path, "value": value, "from": origin} for path, value, origin in rows]}
    table = [(path, _text(value), origin) for path, value, origin in rows]
    output.show(flags.output, document, lambda: output.columns(("SETTING", "VALUE", "FROM"), table, output.width()))


def effective(settings: values.Settings) -> Iterator[tuple[str, Any, str]]:
    """Yield (path, value, origin) of every setting, in the order of the schema."""
    for path, value in _flat(settings, ""):
        shown = str(compose.data(settings)) if path == "data" else value
        yield path, shown, settings.origins.get(path, "default")


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        if field.name == "origins":
            continue
        path = f"{prefix}{_camel(field.name)}"
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from _flat(inner, f"{path}.")
        else:
            yield path, dict(inner) if field.name == "labels" else inner


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items()) or "-"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
