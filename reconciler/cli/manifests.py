"""`validate`, `schema` and `explain`: what manifests say, may say, and mean."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import click
from click import shell_completion

from reconciler import errors
from reconciler.cli import options, output
from reconciler.core import classify, model
from reconciler.load import explain as explaining

INVALID = 2
"""Exit code when a manifest has a problem."""


@click.command(
    epilog=options.examples(
        "perdure validate                     the repository around this folder",
        "perdure validate jobs/train.yaml     only what concerns that file",
        "perdure validate -o json | jq -r '.problems[].fix'",
    )
)
@options.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@options.common("text", "json", "yaml")
@click.pass_obj
def validate(flags: options.Flags, *, paths: tuple[Path, ...]) -> int:
    """Show every problem of every file at once, with what to write instead. Changes nothing; exits 2 when there is one."""
    from reconciler import load
    from reconciler.load import paths as on_disk

    problems: list[model.Problem] = []
    counts: Counter[str] = Counter()
    for tree in on_disk.trees(paths or (Path(),)):
        desired = load.revision(tree)
        problems += tree.shown(desired.problems)
        counts.update(_counted(desired))
    document = {"problems": [_machine(problem) for problem in problems], "valid": dict(counts)}
    output.show(flags.output, document, lambda: _told(problems, counts))
    return INVALID if problems else 0


def _counted(desired: model.Desired) -> Counter[str]:
    return Counter(
        {
            "Job": len(desired.jobs),
            "Checkpoint": len(desired.checkpoints),
            "Store": len(desired.stores),
            "Target": len(desired.targets),
            "Pool": len(desired.pools),
        }
    )


def _machine(problem: model.Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "kind": problem.kind or None,
        "tenant": problem.tenant or None,
        "name": problem.name or None,
        "message": problem.message,
        "fix": problem.fix or None,
    }


def _told(problems: list[model.Problem], counts: Counter[str]) -> str:
    if problems:
        files = len({problem.file for problem in problems})
        many = "s" if len(problems) > 1 else ""
        return "\n".join([*map(str, problems), "", f"{len(problems)} problem{many} in {files} file{'s' if files > 1 else ''}."])
    if not counts.total():
        return "No manifest here: files that end in .yaml or .yml with an apiVersion of perdure.dev. `perdure init` makes some."
    found = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
    return f"{found}: no problem."


def _kinds(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[shell_completion.CompletionItem]:  # noqa: ARG001 - what click wants
    """Complete what has a schema, and in `explain` the field that is being written."""
    path, dot, start = incomplete.rpartition(".")
    if not dot:
        return [shell_completion.CompletionItem(name) for name in explaining.NAMES if name.lower().startswith(start.lower())]
    try:
        members = explaining.explain(path).members
    except errors.UsageError:
        return []
    return [shell_completion.CompletionItem(f"{path}.{each.name}") for each in members if each.name.startswith(start)]


@click.command(epilog=options.examples("perdure schema Job > job.json", "perdure schema"))
@options.argument("kind", metavar="[KIND]", required=False, shell_complete=_kinds)
@options.common("text", "json", "yaml")
@click.pass_obj
def schema(flags: options.Flags, *, kind: str | None) -> None:
    """Print the JSON Schema of a kind; without KIND, the names that have one."""
    if kind is None:
        output.show(flags.output, {"names": list(explaining.NAMES)}, lambda: "\n".join(explaining.NAMES))
        return
    found = explaining.schema(kind)
    output.show(flags.output, found, lambda: json.dumps(found, indent=2, ensure_ascii=False))


@click.command(
    epilog=options.examples("perdure explain Job", "perdure explain Job.spec.checkpoint.interval", "perdure explain config")
)
@options.argument("field", metavar="KIND[.FIELD...]", shell_complete=_kinds)
@options.common("text", "json", "yaml")
@click.pass_obj
def explain(flags: options.Flags, *, field: str) -> None:
    """Tell what a field means, its default, and what changing it does to a job that runs."""
    found = explaining.explain(field)
    change = _class(found.path)
    document = {
        "path": found.path,
        "type": found.type,
        "description": found.description,
        "form": found.form or None,
        "required": found.required,
        "default": found.default or None,
        "values": list(found.values),
        "limits": found.limits or None,
        "examples": list(found.examples),
        "change": {"class": change.field_class.value, "why": change.why} if change else None,
        "fields": [
            {"name": each.name, "type": each.type, "required": each.required, "description": each.description}
            for each in found.members
        ],
    }
    output.show(flags.output, document, lambda: _explained(found, change))


def _class(path: str) -> classify.Field | None:
    """Return the row of the field class table that covers a Job's field: its own, or the nearest above it."""
    kind, _, field = path.partition(".")
    if kind != "Job":
        return None
    rows = {row.path: row for row in classify.TABLE}
    while field:
        if field in rows:
            return rows[field]
        field = field.rpartition(".")[0]
    return None


def _explained(found: explaining.Explanation, change: classify.Field | None) -> str:
    facts = (
        ("Type", found.type),
        ("Form", found.form),
        ("Required", "yes" if found.required else ""),
        ("Default", found.default),
        ("Values", ", ".join(found.values)),
        ("Limits", found.limits),
        ("Examples", ", ".join(found.examples)),
        ("Change", f"{change.field_class.value}: {change.why}" if change else ""),
    )
    lines = [found.path, "", _wrapped(found.description, 2), ""]
    lines += [_wrapped(f"{label + ':':<10} {text}", 2, hanging=11) for label, text in facts if text]
    if found.members:
        lines += ["", "Fields:"]
        for each in found.members:
            lines.append(f"  {each.name}  ({each.type}{', required' if each.required else ''})")
            lines.append(_wrapped(each.description, 6))
    return "\n".join(lines)


def _wrapped(text: str, indent: int, hanging: int = 0) -> str:
    """Return text indented, and folded where a terminal is too narrow for it."""
    first, more = " " * indent, " " * (indent + hanging)
    width = output.width()
    if width is None:
        return f"{first}{text}"
    return textwrap.fill(text, max(width, len(more) + 20), initial_indent=first, subsequent_indent=more)
