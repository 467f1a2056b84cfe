"""`perdure doctor --host`: this machine where no name is given, a host of the reconciler where one is."""

from __future__ import annotations

import json

import click
import pytest

from agent.install import looks, prerequisites
from reconciler.cli import doctor, main
from tests.cli import outputs


def test_this_machine_is_looked_at_without_any_repository(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_SOURCE_REPOSITORY", "/no/such/repository")
    code = main.run(["doctor", "--host", "-o", "json"])
    document = outputs.conforms("doctor", json.loads(capsys.readouterr().out))
    subjects = {found["subject"] for found in document["findings"]}
    assert "system" in subjects
    assert subjects <= {row.subject for row in prerequisites.TABLE}
    assert code == (0 if document["ok"] else 1)


@pytest.mark.parametrize(
    ("words", "host"),
    [(["--host"], doctor.HERE), (["--host", "-o", "json"], doctor.HERE), (["--host", "berlin"], "berlin"), ([], None)],
)
def test_a_name_means_a_host_of_the_reconciler(words: list[str], host: str | None) -> None:
    context = doctor.doctor.make_context("doctor", list(words), parent=click.Context(main.cli))
    assert context.params["host"] == host


def test_people_read_what_mends_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = looks.Found(subject="criu", state="fail", text="criu is not there", remedy="apt-get install -y criu")
    monkeypatch.setattr(prerequisites, "examine", lambda _: iter([lacking]))
    assert main.run(["doctor", "--host"]) == 1
    assert capsys.readouterr().out == "FAIL  criu: criu is not there\n      apt-get install -y criu\n"
