"""How `perdure` and `perdure-agent` end: the one edge where every error becomes one message on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from reconciler import errors

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number, as shells count."""

CLOSED_PIPE = 141
"""Exit code when the reader of our output has gone: what every program killed by SIGPIPE gives, so that pipefail can tell."""


UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a system says when output goes to a file for which there is no room any more."""


class Ended(BaseException):
    """A signal asks this process to end: what it has begun is undone, and what it has started ends too, as with Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number
        """Exit code, as shells count."""


@contextmanager
def orderly() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP raise `Ended`, where nothing else was to become of them; SIGINT as Python has it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what `signal` wants
        raise Ended(number)

    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `beginning`
        taken.append(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def run(program: click.Command, name: str, arguments: Sequence[str]) -> int:
    """Run one command of `program`, called `name`, and return its exit code. None of its errors shows a stack trace."""
    try:
        with orderly():
            return _run(program, name, arguments)
    except Ended as end:
        return end.code
    except KeyboardInterrupt:  # another one, while what the first has ended was cleared up
        return INTERRUPTED
    finally:
        _drain()


def _run(program: click.Command, name: str, arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold bytes that are no text
    completing = f"_{name.upper().replace('-', '_')}_COMPLETE"  # the variable by which a shell's completion script asks
    try:
        code = program.main(list(arguments), prog_name=name, complete_var=completing, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return silenced()
    except SystemExit as end:  # shell completion, or click's own answer to a closed pipe while it prints a help page
        return int(end.code or 0) if completing in os.environ else silenced()
    except errors.PerdureError as error:
        return _said(name, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _said(name, _usage(name, error), 2)
    except OSError as error:
        return _said(name, _system(error), 2)
    except ImportError as error:
        told = errors.incomplete(error)
        return _said(name, str(told), 2) if told else _defect(name, error, arguments)
    except Exception as error:  # noqa: BLE001 - the one edge: whatever is left over is a defect of ours, told in one line
        return _defect(name, error, arguments)
    return code if isinstance(code, int) else 0


def _defect(name: str, error: Exception, arguments: Sequence[str]) -> int:
    if "--trace" in arguments:
        traceback.print_exception(error)
    kind = type(error).__name__
    return _said(name, f"internal error: {kind}: {error}\n  This is a defect of {name}; `{name} --trace …` shows where.", 2)


def silenced() -> int:
    """Let nothing be written any more: the interpreter would complain about the closed pipe on its way out."""
    _silence(1, 2)
    return CLOSED_PIPE


def _drain() -> None:
    """Leave nothing to be written on the way out: where that fails, the interpreter complains, and makes the exit code 120."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:  # it was told where it could be, or it was a note
            _silence(descriptor)


def _silence(*descriptors: int) -> None:
    with open(os.devnull, "wb") as nothing:
        for descriptor in descriptors:
            os.dup2(nothing.fileno(), descriptor)


def _system(error: OSError) -> str:
    if error.filename:
        remedy = "See what lies in its place, and move it away." if error.errno in errors.IN_ITS_PLACE else ""
        remedy = "See its owner and permissions." if error.errno in (errno.EACCES, errno.EPERM) else remedy
        return f"{error.filename}: {error.strerror}" + (f"\n  {remedy}" if remedy else "")
    if error.errno in UNWRITTEN:  # of a file of ours the name would be told
        return f"the answer cannot be written: {error.strerror}\n  See where its output goes, then run the command again."
    return str(error)


def _said(name: str, message: str, code: int) -> int:
    try:
        click.echo(f"{name}: {message}", err=True)
    except BrokenPipeError:
        return silenced()
    except OSError:  # nobody can be told: the exit code says it
        silenced()
    return code


def _usage(name: str, error: click.ClickException) -> str:
    """Return click's complaint in our form: what, then what to do next."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else name
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}\n  `{path} --help` shows how it is used."
