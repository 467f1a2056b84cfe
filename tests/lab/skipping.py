"""A lab that cannot run skips its tests, and fails them under CI=true."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unable(why: str) -> NoReturn:
    """Ends the test, or all tests of the fixture that asks for the lab."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, so the lab must run: {why}", pytrace=False)
    pytest.skip(why)
