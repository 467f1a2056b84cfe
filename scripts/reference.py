"""Rewrite the generated parts of docs/reference from the schemas, the tables and the commands themselves.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. Usage: reference.py [--check]: say which pages are stale
and exit with 1 instead of writing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from agent import cli as agent_cli
from agent.install import prerequisites
from reconciler.cli import main as perdure_cli
from reconciler.core import classify, failures, reasons
from reconciler.load import explain, settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs"

COMMON = frozenset({"--config", "--repo", "--ref", "--instance", "--data", "--output", "--help"})
"""Flags that every command takes: told once."""

FAULTS = {
    failures.Fault.PROGRAM: "`retries.failure`",
    failures.Fault.MACHINE: "`retries.preemption`",
    failures.Fault.STORE: "none: it follows at once",
    failures.Fault.FINAL: "none: trying again cannot help",
}

FORMS = {
    "a name of at most 63": "[a name](forms.md#names)",
    "a duration": "[a duration](forms.md#durations)",
    "a size": "[a size](forms.md#sizes)",
    "a host name": "",
    "text of at least one character": "",
}

HOW = {
    "CheckpointDamaged": "bytes of the checkpoint to restore are not what was written; the one before it is taken next",
    "StartRefused": "it could not be started, and never can be: a missing secret, no such entrypoint, a refused restore",
    "StartFailed": "it could not be started this time: its code or environment could not be made",
    "TimedOut": "it ran longer than `timeout`",
    "OutOfMemory": "it used more memory than `resources.memory`",
    "Signalled": "a signal ended it that Perdure did not send",
    "ExitStatus": "it exited with another status than 0",
    "OutcomeUnknown": "process and supervisor are gone, and neither left a record: it may have finished",
    failures.LOST: "its host was silent beyond both budgets and `onLost` is `replace`; the old attempt may still run",
    failures.VANISHED: "its host is well and does not know it any more",
}


def main(arguments: list[str]) -> int:
    """Write, or check, every page that has generated parts."""
    stale = []
    for page in sorted(PAGES.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        new = rewritten(text)
        if new != text:
            stale.append(page.relative_to(ROOT))
            if "--check" not in arguments:
                page.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'stale; run scripts/reference.py' if '--check' in arguments else 'rewritten'}")
    return 1 if stale and "--check" in arguments else 0


def rewritten(text: str) -> str:
    """Return a page with its generated parts made anew. Raises KeyError for a part that nothing makes."""

    def made(match: re.Match[str]) -> str:
        maker, *words = match["name"].split()
        body = "\n".join(MAKERS[maker](*words))
        return f"<!-- begin {match['name']} -->\n\n{body}\n\n<!-- end {match['name']} -->"

    return re.sub(r"<!-- begin (?P<name>[^>]+?) -->.*?<!-- end (?P=name) -->", made, text, flags=re.DOTALL)


def fields(kind: str) -> Iterator[str]:
    """Yield the table of all fields of a kind; of a Job also what changing one means."""
    job = kind == "Job"
    yield "| field | type | default | meaning |" + (" change |" if job else "")
    yield "|---|---|---|---|" + ("---|" if job else "")
    for found in _below(explain.explain(kind)):
        if found.path.rpartition(".")[2] in ("apiVersion", "kind") or found.path.endswith((".metadata", ".spec")):
            continue
        cells = [
            f"`{found.path.removeprefix(f'{kind}.').removeprefix('spec.')}`",
            _type(found),
            _default(found),
            _meaning(found),
        ]
        yield _row([*cells, *([_change(found)] if job else [])])


def configuration() -> Iterator[str]:
    """Yield the table of the configuration's fields and the variables that set them."""
    yield from ("| field | environment | default | meaning |", "|---|---|---|---|")
    for field in settings.fields():
        found = explain.explain(f"config.{field}")
        yield _row([f"`{field}`", f"`{settings.variable(field)}`", _default(found), _meaning(found)])


def classes() -> Iterator[str]:
    """Yield the table of field classes."""
    yield from ("| field | class | why |", "|---|---|---|")
    for row in classify.TABLE:
        yield _row([f"`{row.path}`", row.field_class.value, row.why])


def why() -> Iterator[str]:
    """Yield the table of reasons, each with an anchor."""
    yield from ("| reason | the run is … | what you can do |", "|---|---|---|")
    for row in reasons.TABLE.values():
        yield _row([f"`{row.name}`", row.text, row.remedy or "nothing: it passes by itself, or is as it should be"])


def needed() -> Iterator[str]:
    """Yield the table of what a machine must have for checkpoints of containers."""
    yield from ("| | why |", "|---|---|")
    for row in prerequisites.TABLE:
        yield _row([row.subject, row.why])


def host_file() -> Iterator[str]:
    """Yield the table of the host file's members."""
    schema = json.loads((ROOT / "schemas" / "host" / "runtime.json").read_text(encoding="utf-8"))
    yield from ("| member | default | meaning |", "|---|---|---|")
    for name, member in _members(schema, ""):
        default = f"`{json.dumps(member['default'])}`" if "default" in member else ""
        yield _row([f"`{name}`", default, member["description"]])


def _members(schema: dict[str, Any], above: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, member in schema.get("properties", {}).items():
        yield f"{above}{name}", member
        yield from _members(member, f"{above}{name}.")


def ends() -> Iterator[str]:
    """Yield the table of failures."""
    yield from ("| failure | it means | counts against |", "|---|---|---|")
    budgets = {row.name: FAULTS[row.fault] for row in failures.TABLE} | dict.fromkeys(
        (failures.LOST, failures.VANISHED), FAULTS[failures.Fault.MACHINE]
    )
    for name, budget in budgets.items():
        yield _row([f"`{name}`", HOW[name], budget])


def commands(program: str) -> Iterator[str]:
    """Yield a section for each command of a program."""
    if program == "perdure":
        for section in perdure_cli.SECTIONS:
            yield from (f"## {section.title}", "")
            for row in section.rows:
                yield from _command(perdure_cli.cli, row.name, program)
    else:
        for name in sorted(agent_cli.cli.commands):
            yield from _command(agent_cli.cli, name, program)


def _command(group: click.Group, name: str, above: str) -> Iterator[str]:
    command = group.get_command(click.Context(group), name)
    if command is None:
        raise KeyError(name)
    path = f"{above} {name}"
    yield from (f"### {path}", "", *_paragraphs(command.help or ""))
    if isinstance(command, click.Group):
        for inner in command.commands:
            yield from _command(command, inner, path)
        return
    context = click.Context(command, info_name=path)
    yield from ("```text", f"{path} {' '.join(command.collect_usage_pieces(context))}", "```", "")
    own = [each for each in command.params if isinstance(each, click.Option) and not COMMON.intersection(each.opts)]
    formats = [each for each in command.params if isinstance(each, click.Option) and "--output" in each.opts]
    if own or formats:
        yield from ("| flag | meaning |", "|---|---|")
        for option in own:
            yield _row([f"`{_flag(option)}`", _help(option)])
        for option in formats:
            if isinstance(option.type, click.Choice):
                yield _row([f"`-o {'|'.join(map(str, option.type.choices))}`", "how to print it"])
        yield ""
    if command.epilog:
        lines = command.epilog.replace("\b", "").strip().splitlines()[1:]
        yield from ("```sh", *(re.sub(r" {2,}", "   # ", line.strip(), count=1) for line in lines), "```", "")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        joined = " ".join(line.strip() for line in paragraph.splitlines() if line.strip())
        if joined.startswith("Example: "):
            joined = f"Example: `{joined.removeprefix('Example: ')}`"
        yield from (joined, "")


def _flag(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {'|'.join(map(str, option.type.choices))}"
    return f"{names} {option.metavar or option.type.name.upper().removesuffix(' RANGE')}"


def _help(option: click.Option) -> str:
    text = re.sub(r"\s+", " ", option.help or "")
    return f"{text} Required." if option.required else text


def _below(found: explain.Explanation) -> Iterator[explain.Explanation]:
    for member in found.members:
        inner = explain.explain(f"{found.path}.{member.name}")
        yield inner
        yield from _below(inner)


def _type(found: explain.Explanation) -> str:
    return f"{found.type}, required" if found.required else found.type


def _default(found: explain.Explanation) -> str:
    return f"`{found.default}`" if found.default else ""


def _meaning(found: explain.Explanation) -> str:
    text = found.description
    if len(found.values) > 1:
        text += f" One of {', '.join(f'`{value}`' for value in found.values)}."
    elif found.limits:
        text += f" {found.limits[:1].upper()}{found.limits[1:]}."
    if found.form and not found.values and (form := _form(found.form)):
        text += f" Form: {form}."
    if found.examples:
        text += f" E.g. {', '.join(f'`{example}`' for example in found.examples)}."
    return text


def _form(title: str) -> str:
    """Return the form of a text; what recurs is a link to where it is told once."""
    for start, short in FORMS.items():
        if title.startswith(start):
            return short
    return title.replace("..", "`..`")


def _change(found: explain.Explanation) -> str:
    """Return the class of a Job's field: its own row, or the nearest above it."""
    rows = {row.path: row for row in classify.TABLE}
    path = found.path.removeprefix("Job.")
    while path and path not in rows:
        path = path.rpartition(".")[0]
    return rows[path].field_class.value if path else ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


MAKERS: dict[str, Callable[..., Iterator[str]]] = {
    "fields": fields,
    "configuration": configuration,
    "classes": classes,
    "reasons": why,
    "failures": ends,
    "prerequisites": needed,
    "host-file": host_file,
    "commands": commands,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
