"""The table of commands, and the edge where errors become a message and an exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click import testing

from reconciler import errors
from reconciler.cli import main, options
from reconciler.seams import ending
from tests.cli.site import Site

ROWS = [row for section in main.SECTIONS for row in section.rows]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_command_that_is_listed_works_and_shows_an_example(row: main.Row) -> None:
    result = testing.CliRunner().invoke(main.cli, [row.name, "--help"])
    assert result.exit_code == 0, result.output
    command = main.cli.get_command(click.Context(main.cli), row.name)
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert leaf is not None
        assert "Examples:" in (leaf.epilog or ""), leaf.name


def _leaves() -> Iterator[tuple[str, ...]]:
    for row in ROWS:
        command = main.cli.get_command(click.Context(main.cli), row.name)
        if isinstance(command, click.Group):
            yield from ((row.name, name) for name in command.commands)
        else:
            yield (row.name,)


@pytest.mark.parametrize("words", [[], ["host"]])
def test_without_a_command_the_help_page_is_shown(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(words) == 2
    out, err = capfd.readouterr()
    assert (out, err.split()[:2]) == ("", ["Usage:", "perdure"])


LEAVES = list(_leaves())
"""Every command by its words."""


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_example_is_a_command_line_that_is_understood(words: tuple[str, ...]) -> None:
    help_page = testing.CliRunner().invoke(main.cli, [*words, "--help"]).output
    lines = [line.strip() for line in help_page.partition("Examples:\n")[2].splitlines()]
    assert any(" ".join(("perdure", *words)) in line for line in lines), help_page
    for line in lines:
        for command in re.findall(r"(?:^|&& |\()(perdure .*?)(?=  |$| [|>] | && |\))", line):
            _parse(main.cli, shlex.split(command)[1:])


def _parse(command: click.Command, arguments: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line without running it."""
    context = command.make_context(command.name, arguments, parent)
    if isinstance(command, click.Group):
        name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None, name
        _parse(inner, rest, context)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_a_help_page_fits_a_narrow_terminal(words: tuple[str, ...]) -> None:
    narrow = testing.CliRunner().invoke(main.cli, [*words, "--help"], terminal_width=20)
    assert narrow.exit_code == 0
    assert "Examples:" in narrow.output


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command `fail` that raises what the list holds."""
    raised: list[BaseException] = []

    @click.command()
    def fail() -> None:
        raise raised[0]

    find = main.Commands.get_command
    monkeypatch.setattr(main.Commands, "get_command", lambda self, ctx, name: fail if name == "fail" else find(self, ctx, name))
    return raised


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.Refused("no", where="here", remedy="Ask."), 2, "perdure: here: no\n  Ask.\n"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device", "/data/x"), 2, "perdure: /data/x: No space left on device\n"),
        (
            OSError(28, "No space left on device"),
            2,
            "perdure: the answer cannot be written: No space left on device\n"
            "  See where its output goes, then run the command again.\n",
        ),
        (
            ValueError("odd"),
            2,
            "perdure: internal error: ValueError: odd\n  This is a defect of perdure; `perdure --trace …` shows where.\n",
        ),
        (
            ModuleNotFoundError("No module named 'zstandard'", name="zstandard"),
            2,
            "perdure: the Python package zstandard is missing here, or too old: No module named 'zstandard'\n"
            "  Run `make setup` in the checkout; where perdure is installed by pip, install this version again.\n",
        ),
        (
            ImportError("cannot import name 'x'", name="reconciler.core.plan"),
            2,
            "perdure: internal error: ImportError: cannot import name 'x'\n"
            "  This is a defect of perdure; `perdure --trace …` shows where.\n",
        ),
    ],
    ids=["ours", "ctrl-c", "system", "full", "defect", "environment", "ours-misses"],
)
def test_an_error_is_one_message(
    failing: list[BaseException], capfd: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    failing.append(error)
    assert main.run(["fail"]) == code
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.lstrip("\n") == said


def test_a_defect_shows_where_only_when_it_is_asked_to(failing: list[BaseException], capfd: pytest.CaptureFixture[str]) -> None:
    failing.append(ValueError("odd"))
    assert main.run(["--trace", "fail"]) == 2
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "there is no command 'stauts'\n  Did you mean `perdure status`?"),
        (["zzz"], "there is no command 'zzz'\n  `perdure --help` lists every command."),
        (["status", "--nope"], "no such option '--nope'"),
        (["why"], "missing argument 'JOB'\n  `perdure why --help` shows how it is used."),
        (["wait", "x", "--for", "ever"], "invalid value for '--for'"),
    ],
)
def test_a_wrong_command_line_is_told_what_was_meant(
    capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main.run(arguments) == 2
    assert said in capfd.readouterr().err


def test_flags_after_the_command_override_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[options.Flags] = []

    @click.command()
    @options.common("text", "json")
    @click.pass_obj
    def show(flags: options.Flags) -> None:
        seen.append(flags)

    monkeypatch.setattr(main.Commands, "get_command", lambda self, ctx, name: show)
    assert main.run(["--repo", "a", "--data", "d", "show", "--repo", "b", "-o", "json"]) == 0
    assert seen == [options.Flags(repo="b", data="d", output="json")]
    assert seen[0].settings() == {"source.repository": "b", "data": "d"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(capfd: pytest.CaptureFixture[str], shell: str) -> None:
    assert main.run(["completion", shell]) == 0
    assert "_PERDURE_COMPLETE" in capfd.readouterr().out


def test_completion_knows_commands(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PERDURE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "perdure sta")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert main.run([]) == 0
    assert capfd.readouterr().out.split() == ["plain,status"]


def test_a_closed_standard_output_is_no_defect() -> None:
    assert os.system(f"{sys.executable} -m reconciler.cli version >&-") == 0


@pytest.mark.parametrize(
    ("words", "code"), [("init jobs --store kept", 2), ("doctor", 1), ("status", 2), ("diff", 2), ("suspend count", 2)]
)
def test_without_git_it_is_told_what_to_install(tmp_path: Path, words: str, code: int) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "reconciler.cli", *words.split()]
    environment = {**os.environ, "PATH": str(tmp_path / "empty")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "internal error" in done.stdout) == (code, False), done.stdout
    assert "git: git cannot be run\n      Install git 2.32 or newer" in done.stdout.replace("\n  Install", "\n      Install")
    assert {path.name for path in tmp_path.iterdir()} == {".git", "empty"}


@pytest.mark.parametrize(("redirected", "said"), [(">/dev/full", b"the answer cannot be written: "), (">/dev/full 2>&1", b"")])
def test_output_for_which_there_is_no_room(redirected: str, said: bytes) -> None:
    command = f"{sys.executable} -m reconciler.cli version {redirected}"
    done = subprocess.run(command, shell=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert (said in done.stderr, b"Exception" in done.stderr, b"Traceback" in done.stderr) == (True, False, False)


def test_a_note_for_which_there_is_no_room_fails_nothing(site: Site) -> None:
    site.job()
    site.push()
    command = [*site.arguments("diff"), "-o", "json"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False, timeout=60, cwd=site.root)
    assert (done.returncode, json.loads(done.stdout)["summary"]["create"]) == (1, 1)


def test_sigterm_and_sighup_end_like_ctrl_c_with_codes_of_their_own(failing: list[BaseException]) -> None:
    for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        failing.append(ending.Ended(number))
        assert main.run(["fail"]) == code
        failing.clear()
        assert signal.getsignal(number) is signal.SIG_DFL


INTERRUPTED_WHILE_IT_IMPORTS = """
import os, signal, sys
from NAME.__main__ import start
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
start()
"""

INTERRUPTED_ON_ITS_WAY_OUT = """
import atexit, os, signal
from NAME.__main__ import start
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
start()
"""


@pytest.mark.parametrize("name", ["reconciler.cli", "agent"])
@pytest.mark.parametrize("code", [INTERRUPTED_WHILE_IT_IMPORTS, INTERRUPTED_ON_ITS_WAY_OUT], ids=["first", "last"])
def test_ctrl_c_before_anything_is_done_and_after_everything_shows_no_stack_trace(name: str, code: str) -> None:
    command = [sys.executable, "-c", code.replace("NAME", name), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_second_ctrl_c_is_no_stack_trace_either(failing: list[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    failing.append(errors.Unavailable("no"))
    monkeypatch.setattr(ending, "_said", _interrupted)
    assert main.run(["fail"]) == ending.INTERRUPTED


def _interrupted(*_: object) -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("explain", "KIND[.FIELD...]"),
        ("schema", "[KIND]"),
        ("why", "JOB"),
        ("status", "[JOB]..."),
        ("suspend", "JOB"),
        ("verify", "[DIGEST]..."),
        ("host revoke", "HOST"),
        ("token create", "HOST"),
        ("init", "DIR"),
        ("validate", "[PATH]..."),
        ("apply", "[PLAN]"),
    ],
)
def test_an_empty_argument_is_called_so_and_nothing_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run([*command.split(), ""]) == 2
    remedy = "If it comes from a variable of your shell, see whether that is set."
    assert capsys.readouterr().err == f"perdure: {name}: it is empty\n  {remedy}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "most", "said"), [("x", None, "of at least 1"), ("0", None, "of at least 1"), ("1.5", 10, "from 1 to 10")]
)
def test_a_number_that_is_none_is_told_with_its_bounds(given: str, most: int | None, said: str) -> None:
    assert options.Count(1, most).convert("7", None, None) == 7
    with pytest.raises(click.BadParameter, match=f"'{given}' is not a whole number {said}"):
        options.Count(1, most).convert(given, None, None)
