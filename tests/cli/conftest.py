"""One site a test, ended whatever happens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="perdure-cli-"))  # jobs run as another user, who cannot pass through tmp_path
    root.chmod(0o711)
    one = Site(root)
    try:
        yield one
    finally:
        one.close()
        shutil.rmtree(root)
