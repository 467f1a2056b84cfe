"""A real agent with real programs: what is assigned is run, watched, saved, ended and forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import service
from reconciler import errors
from reconciler.core import model, observed, spec
from reconciler.seams import clock
from tests.agent.host import Host

Kind = observed.ExitKind


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def test_a_program_runs_and_its_end_is_reported_and_forgotten(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt("print('hello'); raise SystemExit(3)"))
        assert host.ended(ref) == observed.Exit(kind=Kind.EXITED, code=3)
        assert host.log(ref) == b"hello\n"
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)
    assert not (host.data / "attempts" / str(ref)).exists()
    assert not host.shared(ref).exists()
    assert host.log(ref) == b"hello\n"
