"""Tests that run in a guest, as its host tells them: each by its name, with the reason where it did not pass."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.lab import ability, guest, guest_tree, skipping
from tests.lab.guest import Guest
from tests.lab.lab import CHECKOUT

SCRIPT = """
cd {checkout}
{before}
export PYTHONDONTWRITEBYTECODE=1
{python} -m pytest -p tests.lab.in_guest -p no:cacheprovider --quiet --junitxml /tmp/report {tests}
{after}
echo REPORT; cat /tmp/report
"""


def names(file: str) -> tuple[str, ...]:
    """The tests of a file of this checkout."""
    return tuple(re.findall(r"^def (test_\w+)", (CHECKOUT / file).read_text(), re.MULTILINE))


def told(folder: Path, tests: str, *, before: str = "", after: str = "", init: str = guest.PLAIN) -> str:
    """What a guest prints that runs tests between two pieces of shell; `folder` is empty. Booting is dear: do all in one go."""
    script = SCRIPT.format(
        checkout=shlex.quote(str(CHECKOUT)), python=shlex.quote(sys.executable), tests=tests, before=before, after=after
    )
    try:
        machine = Guest()
    except ability.LabUnable as error:
        skipping.unable(str(error))
    outcome = machine.run(guest_tree.LAID + script, files=guest_tree.lay(folder), init=init, timeout=3600)
    assert outcome.status == 0, outcome.output
    return outcome.output


def ended(said: str) -> Mapping[str, str]:
    """By the name of a test: why it did not pass, empty where it did."""
    cases = ElementTree.fromstring(said.partition("\nREPORT\n")[2]).iter("testcase")
    return {
        case.get("name", ""): "\n".join(child.text or child.get("message") or child.tag for child in case) for case in cases
    }


def passed(all_ended: Mapping[str, str], name: str) -> None:
    """Fails as it failed there."""
    if all_ended[name]:
        pytest.fail(all_ended[name], pytrace=False)
