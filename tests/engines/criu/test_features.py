"""What CRIU writes of a processor, read."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.core import processor
from reconciler.engines.criu import features, messages
from tests.core import test_processor
from tests.engines.criu import stream

WRITTEN = stream.CPUINFO


def test_what_criu_writes_on_x86() -> None:
    assert features.decode(WRITTEN) == test_processor.HERE


def test_what_criu_writes_elsewhere_tells_the_architecture() -> None:
    power = messages.image(messages.COMMON_MAGIC, messages.CPUINFO_MAGIC, [b"\x12\x04\x08\x01\x10\x07"])
    assert features.decode(power) == os.uname().machine


def test_what_an_old_criu_does_not_write_is_not_told() -> None:
    (entry,) = messages.messages(WRITTEN, messages.COMMON_MAGIC, messages.CPUINFO_MAGIC, "cpuinfo.img")
    old = messages.edited(
        messages.nested(messages.decode(entry, ""), 1) or b"", "", {6: test_processor.WORDS[:12], 8: [], 9: []}, {}
    )
    content = messages.image(messages.COMMON_MAGIC, messages.CPUINFO_MAGIC, [messages.edited(entry, "", {}, {1: old})])
    line = features.decode(content)
    assert line.endswith("11:18405f42 largest:11008")
    assert processor.lacking(line, test_processor.HERE) == ()


@pytest.mark.parametrize("content", [b"", b"x", WRITTEN[:8], WRITTEN[:-1], WRITTEN[:8] + b"\1\0\0\0\x0a"])
def test_what_is_no_such_image_is_damaged(content: bytes) -> None:
    with pytest.raises(errors.Damaged):
        features.decode(content)


def criu(folder: Path, lines: str) -> str:
    """A criu that does what a shell script does."""
    path = folder / "criu"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o700)
    return str(path)


def test_a_machine_asks_its_criu_and_leaves_nothing(tmp_path: Path) -> None:
    text = base64.b64encode(WRITTEN).decode()
    made = criu(tmp_path, f'[ "$1 $2" = "cpuinfo dump" ] && echo {text} | base64 -d > "$4/cpuinfo.img"')
    own = tmp_path / "own"
    own.mkdir()
    assert features.here(made, own) == test_processor.HERE
    assert list(own.iterdir()) == []


@pytest.mark.parametrize("lines", ["exit 1", "exit 0", 'echo x > "$4/cpuinfo.img"'])
def test_a_criu_that_does_not_tell_leaves_it_unknown(lines: str, tmp_path: Path) -> None:
    assert features.here(criu(tmp_path, lines), tmp_path) == ""
    assert features.here("/no/criu", tmp_path) == ""
