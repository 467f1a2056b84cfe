"""A program's count of its steps, read from files that it may have made anything of."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import progress


def told(*steps: int) -> str:
    return "".join(json.dumps({"step": step, "of": 99}) + "\n" for step in steps)


class Part(progress.File):
    """A file whose first bytes are others'."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path)
        self.size = size

    def begin(self) -> int:
        return self.size


def test_an_attempt_reports_only_its_own_steps(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text(told(1, 2, 3))
    follower = progress.Follower(Part(path, len(told(1, 2, 3))))
    follower.look(1.0)
    assert (follower.first, follower.newest) == (None, None)
    with path.open("a") as file:
        file.write(told(4, 5) + '{"step": 6')
    follower.look(2.0)
    assert follower.first == 4
    assert follower.newest is not None
    assert (follower.newest.step, follower.newest.of, follower.newest.at) == (5, 99, 2.0)
    path.write_text(told(1))  # begun anew
    follower.look(3.0)
    assert (follower.first, follower.newest.step) == (4, 1)


def test_a_file_that_is_shorter_than_what_came_with_the_checkpoint_was_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text(told(7))
    follower = progress.Follower(Part(path, 1000))
    follower.look(1.0)
    assert follower.first == 7


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", None),
        (told(3, 4), 4),
        (told(3) + '{"step": 4', 3),
        (told(3) + 'nonsense\n{"step": -1}\n{"step": true}\n[]\n', 3),
        (told(3) + "x" * progress.LINE + "\n", None),
        ("x" * progress.LINE + "\n" + told(5), 5),
        (told(*range(20_000)), 19_999),
    ],
)
def test_the_newest_step_stands_at_the_end(tmp_path: Path, content: str, expected: int | None) -> None:
    (tmp_path / "p").write_text(content)
    assert progress.newest(Part(tmp_path / "p", 1 << 40)) == expected
    assert progress.newest(progress.File(tmp_path / "none")) is None


def _link(path: Path, other: Path) -> None:
    path.symlink_to(other)


def _fifo(path: Path, _other: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _other: Path) -> None:
    path.mkdir()


def _device(path: Path, _other: Path) -> None:
    os.mknod(path, 0o020666, os.makedev(1, 5))


@pytest.mark.parametrize("make", [_link, _fifo, _folder, _device])
def test_only_a_plain_file_below_the_root_is_opened(tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "run").mkdir(parents=True)
    outside.mkdir()
    (outside / "p").write_text(told(1))
    if make is _device and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    make(root / "run" / "p", outside / "p")
    with pytest.raises(OSError, match="p"):
        os.close(progress.beneath(str(root), "run/p"))
    (root / "run" / "p").rmdir() if make is _folder else (root / "run" / "p").unlink()
    (root / "run").rmdir()
    (root / "run").symlink_to(outside)
    with pytest.raises(OSError, match="run"):
        os.close(progress.beneath(str(root), "run/p"))


def test_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "p").write_text(told(1))
    before = os.listdir("/proc/self/fd")
    os.close(progress.beneath(str(tmp_path), "run/p"))
    for path, named in (("run/none", "none"), ("none/p", "none"), ("run/p/q", "p"), ("run", "no plain file")):
        with pytest.raises(OSError, match=named):
            progress.beneath(str(tmp_path), path)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("line", [b"", b"1", b"{", b'{"of": 1}'])
def test_a_flood_of_lines_costs_no_time_that_other_attempts_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    path = tmp_path / "p"
    path.write_bytes(told(1).encode() + (line + b"\n") * (progress.MOST // (len(line) + 1)) + told(5).encode())
    follower, tried = progress.Follower(progress.File(path)), list[bytes]()
    read = json.loads

    def counted(text: bytes) -> object:
        tried.append(text)
        return read(text)

    monkeypatch.setattr(json, "loads", counted)
    follower.look(1.0)
    follower.look(2.0)
    assert len(tried) < 4 * progress.LINES
    assert follower.newest is not None
    assert (follower.first, follower.newest.step) == (1, 5)
