"""On a machine with systemd, installed as the guides say: `guest_systemd.py` runs there, here each test is told as it ended."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.lab import guest, guest_report

TESTS = "tests/lab/guest_systemd.py"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return guest_report.ended(guest_report.told(tmp_path_factory.mktemp("given"), TESTS, init=guest.SYSTEMD))


@pytest.mark.parametrize("name", guest_report.names(TESTS))
def test_a_machine_with_systemd(ended: Mapping[str, str], name: str) -> None:
    guest_report.passed(ended, name)
