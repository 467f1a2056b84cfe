"""The configuration: file < environment < flags, each value with its origin, each mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler import config, errors
from reconciler.load import settings

FILE = """\
# the lab
instance: lab
source:
  repository: /srv/jobs.git
  sshKey: /etc/key
loop: {poll: 10s, lostTries: 7, backoffCap: 1h30m}
agents:
  embedded: false
  cpu: 1500m
  memory: 8Gi
  labels: {site: lab}
"""


def effective(file: str = "", environ: dict[str, str] | None = None, flags: dict[str, str] | None = None) -> config.Settings:
    return settings.effective(file or None, environ or {}, flags or {}, {"source.repository": "--repo"})


def test_nothing_given_is_every_default() -> None:
    given = effective()
    assert given.source == config.SourceSettings()
    assert set(given.origins.values()) == {"default"}
    assert given.origins.keys() == settings.fields().keys()


def test_a_file_an_environment_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(FILE)
    environ = {
        "PERDURE_LOOP_POLL": "20s",
        "PERDURE_SOURCE_SSH_KEY": "/other",
        "PERDURE_AGENTS_LABELS": "a=b, c=d",
        "HOME": "/x",
    }
    given = effective(str(file), environ, {"source.repository": "here", "loop.poll": "1m"})
    assert given.instance == "lab"
    assert given.source == config.SourceSettings(repository="here", ssh_key="/other")
    assert given.loop == config.LoopSettings(poll=60.0, lost_tries=7, backoff_cap=5400.0)
    assert given.agents == config.AgentSettings(embedded=False, cpu=1500, memory=8 << 30, labels={"a": "b", "c": "d"})
    assert given.origins["source.repository"] == "--repo"
    assert given.origins["loop.poll"] == "flag"
    assert given.origins["source.sshKey"] == "PERDURE_SOURCE_SSH_KEY"
    assert given.origins["loop.lostTries"] == f"{file}:6"
    assert given.origins["instance"] == f"{file}:2"
    assert given.origins["keys.directory"] == "default"


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("instance: lab\n")
    assert effective(environ={"PERDURE_CONFIG": str(file)}).instance == "lab"


def test_every_variable_has_the_name_of_its_path() -> None:
    assert settings.variable("source.sshKey") == "PERDURE_SOURCE_SSH_KEY"
    assert settings.variable("loop.backoffCap") == "PERDURE_LOOP_BACKOFF_CAP"
    assert settings.variable("instance") == "PERDURE_INSTANCE"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("instanc: x\n", '{file}:1:1: there is no field "instanc" here (did you mean instance?)'),
        ("loop: {pol: 3s}\n", '{file}:1:8: loop has no field "pol" (did you mean poll?)'),
        (
            "loop: {poll: 30}\n",
            "{file}:1:14: loop.poll: expected a duration such as 30s, 5m, 2h, 1d or 1h30m, found the number 30 (write 30s)",
        ),
        (
            "agents: {embedded: yes}\n",
            "{file}:1:20: agents.embedded: yes is a truth value for some readers of YAML and text for others (write true)",
        ),
        ("a: [1\n", "{file}:1:4: a list in brackets that is never closed (close it with ])"),
        (
            "instance: a\ninstance: b\n",
            '{file}:2:1: the key "instance" stands here a second time, first in line 1 (remove one of them)',
        ),
        ("instance: a\n---\ninstance: b\n", "{file}:1:1: a configuration is one document of at most 1 MiB"),
        ("- a\n", "{file}:1:1: the document: expected configuration, found a list"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(errors.UsageError) as error:
        effective(str(file))
    assert str(error.value) == expected.format(file=file)


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("instanc: x\nloop: {pol: 3s}\n")
    with pytest.raises(errors.UsageError) as error:
        effective(str(file))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("environ", "flags", "expected"),
    [
        ({"PERDURE_LOOP_POL": "3s"}, {}, "PERDURE_LOOP_POL: there is no such setting\n  did you mean PERDURE_LOOP_POLL?"),
        ({"PERDURE_LOOP_POLL": "soon"}, {}, "PERDURE_LOOP_POLL: loop.poll: expected a duration such as"),
        ({"PERDURE_LOOP_LAUNCHES": "0"}, {}, "PERDURE_LOOP_LAUNCHES: loop.launches must be at least 1, not 0"),
        ({"PERDURE_AGENTS_EMBEDDED": "ja"}, {}, "PERDURE_AGENTS_EMBEDDED: agents.embedded: expected true or false"),
        ({"PERDURE_AGENTS_LABELS": "a"}, {}, "PERDURE_AGENTS_LABELS: agents.labels: expected a mapping"),
        ({}, {"source.repository": ""}, "--repo: source.repository must have at least 1 character, not 0"),
        ({}, {"source.repo": "x"}, "flag: there is no setting source.repo\n  did you mean source.repository?"),
    ],
)
def test_a_wrong_variable_or_flag_is_named(environ: dict[str, str], flags: dict[str, str], expected: str) -> None:
    with pytest.raises(errors.UsageError) as error:
        effective("", environ, flags)
    assert str(error.value).startswith(expected)


def test_other_variables_of_ours_are_left_alone() -> None:
    assert effective(environ={"PERDURE_RUN": "x", "PERDURE_CHECKPOINT_DIR": "y"}).instance == "default"


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(errors.UsageError, match="cannot be read: No such file"):
        effective("/nowhere/c.yaml")
