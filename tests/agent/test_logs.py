"""Output on its way to the store: nothing twice, nothing silently lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import logs, places
from agent.supervisor import output
from reconciler import errors
from reconciler.contracts import store
from reconciler.core import spec
from reconciler.storage import fake, path
from tests.storage import images

REF = spec.AttemptRef(run="1" * 32, attempt=1)


@pytest.fixture
def place(tmp_path: Path) -> places.Attempt:
    found = places.Attempt(private=tmp_path, shared=tmp_path)
    found.logs.mkdir()
    return found


def written(place: places.Attempt, segment: int = 100, keep: int = 3) -> output.Output:
    return output.Output(str(place.logs), segment, keep)


def test_segments_are_shipped_and_freed(place: places.Attempt) -> None:
    to, out, shipper = fake.FakeStore(), written(place), logs.Shipper(place, REF)
    sent = b""
    for number in range(40):
        data = f"line {number}\n".encode()
        out.append(data)
        sent += data
        shipper.ship(to)
    assert to.read_log(REF, 0, 10_000) == sent
    assert len(output.segments(str(place.logs))) == 1
    assert not shipper.ship(to)


def test_what_is_dropped_is_told(place: places.Attempt) -> None:
    to, out, shipper = fake.FakeStore(), written(place), logs.Shipper(place, REF)
    out.append(b"first\n")
    shipper.ship(to)
    to.broken = "away"
    for number in range(100):
        out.append(f"line {number:02}\n".encode())
        if number in (60, 99):
            with pytest.raises(errors.Unavailable):
                shipper.ship(to)
    to.broken = ""
    here = b"".join(Path(path).read_bytes() for _, path in output.segments(str(place.logs))).decode()
    shipper.ship(to)
    text = to.read_log(REF, 0, 10_000).decode()
    lost = 100 * len("line 00\n") - len(here)
    assert text == f"first\n\n[perdure: {lost} bytes of output lost: the store could not take them in time]\n{here}"
    assert text.endswith("line 98\nline 99\n")
    assert len(text) < 500


def test_the_next_shipper_goes_on(place: places.Attempt) -> None:
    to, out = fake.FakeStore(), written(place)
    out.append(b"one\n")
    logs.Shipper(place, REF).ship(to)
    out.append(b"two\n")
    logs.Shipper(place, REF).ship(to)
    assert to.read_log(REF, 0, 100) == b"one\ntwo\n"


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"local": 0, "stored": 0}'])
def test_a_lost_or_old_note_of_what_was_shipped_ships_nothing_twice(place: places.Attempt, content: bytes | None) -> None:
    to, out = fake.FakeStore(), written(place)
    out.append(b"one\n")
    logs.Shipper(place, REF).ship(to)
    if content is None:
        place.shipped.unlink()
    else:
        place.shipped.write_bytes(content)
    out.append(b"two\n")
    logs.Shipper(place, REF).ship(to)
    assert to.read_log(REF, 0, 100) == b"one\ntwo\n"


@pytest.mark.parametrize("content", [None, b"", b"half"])
def test_a_log_that_has_lost_its_end_in_the_store_goes_on_there(
    place: places.Attempt, tmp_path: Path, content: bytes | None
) -> None:
    to, out, shipper = path.PathStore(images.config(str(tmp_path / "store")), store.Keys()), written(place), None
    for text in (b"one\n", b"two\n", b"three\n"):
        shipper = shipper or logs.Shipper(place, REF)
        out.append(text)
        shipper.ship(to)
        [log] = (tmp_path / "store" / "runs" / REF.run / "logs" / "1").iterdir()
        if text == b"two\n" and content is None:
            log.unlink()
        elif text == b"two\n":
            log.write_bytes(log.read_bytes()[:14] if content else b"")
    kept = b"one\n" if content else b""
    note = f"\n[perdure: {8 - len(kept)} bytes of output lost: the store has lost them]\n".encode()
    assert to.read_log(REF, 0, 1000) == kept + note + b"three\n"


def test_a_huge_line_and_binary_pass(place: places.Attempt) -> None:
    to, out, shipper = fake.FakeStore(), written(place, segment=1 << 20, keep=8), logs.Shipper(place, REF)
    data = bytes(range(256)) * 16384
    out.append(data)
    shipper.ship(to)
    assert to.read_log(REF, 0, len(data) + 1) == data


def no_space(descriptor: int, data: bytes) -> int:
    raise OSError(28, f"no space for {len(data)} bytes in {descriptor}")


def test_output_survives_a_full_disk(place: places.Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(place)
    out.append(b"before\n")
    with monkeypatch.context() as full:
        full.setattr("os.write", no_space)
        out.append(b"lost\n")
    out.append(b"after\n")
    found = b"".join(Path(path).read_bytes() for _, path in output.segments(str(place.logs)))
    assert found == b"before\n\n[perdure: 5 bytes of output lost: the disk was full]\nafter\n"


def no_inode(path: str, *_: object) -> int:
    raise OSError(28, "no inode is left", path)


def test_output_goes_on_once_the_segment_that_could_not_be_begun_can_be(
    place: places.Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, full = written(place, segment=100), b"x" * 99 + b"\n"
    out.append(full)
    with monkeypatch.context() as inodes:
        inodes.setattr("os.open", no_inode)
        out.append(b"lost\n")
        out.append(b"too\n")
    out.append(b"after\n")
    found = b"".join(Path(path).read_bytes() for _, path in output.segments(str(place.logs)))
    assert found == full + b"\n[perdure: 9 bytes of output lost: the disk was full]\nafter\n"
