"""A container's output: all of it, once, in the order in which the engine has it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import logs, places
from agent.containers import fake, output, seam, unread
from agent.supervisor import output as segments
from reconciler import errors
from reconciler.core import spec
from reconciler.seams import durable
from reconciler.storage.fake import FakeStore
from tests.agent.containers import rig as rigs

SECOND = 10**9
REF = spec.AttemptRef(run="1" * 32, attempt=1)


class Printer:
    """One container, its folders, and a store."""

    def __init__(self, folder: Path, *, continued: bool = False) -> None:
        self.continued = continued
        self.place = places.Attempt(private=folder / "private", shared=folder / "shared")
        self.place.private.mkdir()
        self.docker = fake.FakeDocker(lambda: 0.0)
        self.docker.images["i"] = seam.Image(id="i")
        self.id = self.docker.create("c", {"Image": "i"})
        self.store = FakeStore()
        self.pump = output.Pump(self.place, ["hush-hush"], continued=self.continued)

    def say(self, *pieces: tuple[float, str]) -> None:
        for at, text in pieces:
            self.docker.say(self.id, text, int(at * SECOND))

    def restart(self) -> None:
        self.pump = output.Pump(self.place, ["hush-hush"], continued=self.continued)

    def run(self, over: bool = True) -> bytes:
        self.pump.run(self.docker, self.id, over=over)
        logs.Shipper(self.place, REF).ship(self.store)
        return self.store.read_log(REF, 0, 1 << 24)


@pytest.fixture
def printer(tmp_path: Path) -> Printer:
    return Printer(tmp_path)


def test_what_comes_is_appended(printer: Printer) -> None:
    printer.say((10, "a\n"))
    assert printer.run() == b"a\n"
    printer.say((10, "b\n"), (11, "c\n"))
    assert printer.run() == b"a\nb\nc\n"
    assert printer.run() == b"a\nb\nc\n"


def test_moments_that_go_back_lose_nothing(printer: Printer) -> None:
    printer.say((100, "a"), (103, "b"))
    printer.run()
    printer.say((102.5, "c"), (104, "d"), (103.9, "e"))
    assert printer.run() == b"abcde"
    printer.say((110, "f"), (111, "g"))
    printer.run()
    printer.say((110.5, "h"))
    assert printer.run() == b"abcdefgh"


def test_an_agent_that_was_killed_repeats_nothing(printer: Printer, monkeypatch: pytest.MonkeyPatch) -> None:
    printer.say((10, "a"), (20, "b"))
    printer.run()
    printer.say((30, "c"), (40, "d"))

    def killed(*_: object) -> None:
        raise errors.Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_atomic", killed)
        with pytest.raises(errors.Unavailable):
            printer.pump.run(printer.docker, printer.id, over=True)
    printer.restart()
    printer.say((50, "e"))
    assert printer.run() == b"abcde"


def test_a_machine_that_lost_its_newest_bytes_has_them_again(printer: Printer) -> None:
    printer.say((10, "a" * 100))
    printer.run()
    for _, path in segments.segments(str(printer.place.logs)):
        Path(path).write_bytes(b"")
    printer.restart()
    printer.say((20, "b"))
    assert printer.run() == b"a" * 100 + b"b"


def test_much_output_comes_in_groups(printer: Printer) -> None:
    printer.say(*((float(n), "x" * 100_000) for n in range(30)))
    printer.say((40, "end"))
    assert printer.run() == b"x" * 3_000_000 + b"end"


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("token hush-", "hush and on\n", ("token ***", "*** and on\n")),
        ("token hus", "h-hush and on\n", ("token hus", "*** and on\n")),
        ("token hush-h", "ush and on\n", ("token ***", "ush and on\n")),
        ("token hush-hush", "\n", ("token ***", "\n")),
        ("it hus", "tles\n", ("it hus", "tles\n")),
        ("hush-hush, hush-", "hush, hush-hush\n", ("***, ***", "***, ***\n")),
    ],
)
def test_a_secret_that_a_checkpoint_cuts_in_two_is_masked_in_both(
    tmp_path: Path, before: str, after: str, shown: tuple[str, str]
) -> None:
    """All but three characters at most: fewer stand in too many innocent words."""
    for number, (text, expected) in enumerate(zip((before, after), shown, strict=True)):
        (tmp_path / str(number)).mkdir()
        printer = Printer(tmp_path / str(number), continued=number > 0)
        printer.say((10, text))
        assert printer.run() == expected.encode()
        printer.restart()
        assert printer.run() == expected.encode()


def test_an_output_that_begins_anew_is_not_taken_for_the_rest_of_one(printer: Printer) -> None:
    printer.say((10, "hush and on\n"), (11, "hush\n"))
    assert printer.run() == b"hush and on\nhush\n"


def with_secret(rig: rigs.Rig, content: str) -> tuple[Path, spec.AttemptSpec]:
    """Give the host a secret; return its file, and an attempt that is given it."""
    path = rig.folder / "secrets/TOKEN"
    path.write_text(content)
    path.chmod(0o600)
    return path, dataclasses.replace(rigs.WHAT, workload=dataclasses.replace(rigs.WHAT.workload, secrets=("TOKEN",)))


def test_what_a_program_was_given_stays_out_of_its_output_after_a_rotation(tmp_path: Path) -> None:
    rig = rigs.Rig(tmp_path)
    path, what = with_secret(rig, "before-it\n")
    one = rig.running(what)
    path.write_text("after-it\n")
    rig.start()
    rig.assign(what)
    rig.docker.say(one.id, "goes on with before-it, not after-it\n")
    rig.look()
    rig.control.ship(rig.book.entries[rigs.REF])
    assert rig.store.read_log(rigs.REF, 0, 200) == b"goes on with ***, not ***\n"
    path.unlink()
    rig.start()
    rig.assign(what)
    rig.docker.say(one.id, "ends with before-it\n")
    rig.docker.end(one.id, 0)
    rig.ended()
    assert rig.store.read_log(rigs.REF, 26, 200) == b"ends with ***\n"
    assert "before-it" not in repr(rig.docker.inspect(one.id))


def test_what_a_restored_program_has_in_memory_stays_out_of_its_output(tmp_path: Path) -> None:
    """Its container is made with the value of now; the program was started with the one before."""
    rig = rigs.Rig(tmp_path)
    _, what = with_secret(rig, "after-it\n")
    program = subprocess.Popen(["sleep", "600"], env={"TOKEN": "before-it"})
    try:
        rig.running(what).pid = program.pid
        rig.start()
        rig.assign(what)
        rig.docker.say(rig.container().id, "has before-it, not after-it\n")
        rig.look()
        rig.control.ship(rig.book.entries[rigs.REF])
    finally:
        program.kill()
        program.wait()
    assert rig.store.read_log(rigs.REF, 0, 200) == b"has ***, not ***\n"


def test_what_could_not_be_read_at_its_end_is_read_though_its_engine_has_removed_it_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end is told although its output could not be had in time; a Swarm's service is removed then, its container with it."""
    rig = rigs.Rig(tmp_path)
    rig.docker.known = dataclasses.replace(rig.docker.known, root=str(tmp_path / "engine"))
    one = rig.running()
    folder = tmp_path / "engine/containers" / one.id
    folder.mkdir(parents=True)
    piece = {"log": "its last words\n", "stream": "stdout", "time": "2027-01-15T08:00:00.5Z"}
    (folder / f"{one.id}-json.log").write_text(json.dumps(piece) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(fake.FakeDocker, "output", raising(errors.Unavailable("dockerd does not answer")))
        rig.docker.end(one.id, 137)
        rig.ended()
    shutil.rmtree(folder)
    del rig.docker.containers[one.id]
    rig.assign(want=spec.Want.REMOVE)
    rig.look(4)
    assert rig.store.read_log(rigs.REF, 0, 100) == b"its last words\n"


def raising(error: Exception) -> Callable[..., Iterator[seam.Line]]:
    def output(*_: object) -> Iterator[seam.Line]:
        raise error

    return output


def test_secrets_are_masked_also_where_a_line_comes_in_parts(printer: Printer) -> None:
    printer.say((10, "a hush-hush b\n"), (11, "hush-"))
    assert printer.run(over=False) == b"a *** b\n"
    printer.say((12, "hush and on\n"))
    assert printer.run(over=False) == b"a *** b\n*** and on\n"
    printer.restart()
    printer.say((13, "no end"))
    assert printer.run(over=False) == b"a *** b\n*** and on\n"
    assert printer.run(over=True) == b"a *** b\n*** and on\nno end"


def test_an_engine_is_asked_only_when_it_may_have_something(tmp_path: Path) -> None:
    calm, file = output.Calm(), tmp_path / "containers/c/c-json.log"
    assert calm.worth(ref(), "c", str(tmp_path), 0.0)
    assert calm.worth(ref(), "c", str(tmp_path), 1.0)  # its file cannot be seen
    file.parent.mkdir(parents=True)
    file.write_text("a")
    assert calm.worth(ref(), "c", str(tmp_path), 2.0)
    assert not calm.worth(ref(), "c", str(tmp_path), 3.0)
    file.write_text("ab")
    assert calm.worth(ref(), "c", str(tmp_path), 4.0)


def test_many_containers_are_asked_more_seldom_each(tmp_path: Path) -> None:
    calm = output.Calm()
    for number in range(1000):
        calm.worth(ref(number), str(number), str(tmp_path), 0.0)
    assert not calm.worth(ref(7), "7", str(tmp_path), output.LONGEST - 0.1)
    assert calm.worth(ref(7), "7", str(tmp_path), output.LONGEST)
    for number in range(1000):
        calm.forget(ref(number))
    assert calm.worth(ref(7), "7", str(tmp_path), output.LONGEST)
    assert calm.worth(ref(7), "7", str(tmp_path), output.LONGEST + 0.1), "those that are gone slow no other down"


def ref(number: int = 1) -> spec.AttemptRef:
    return spec.AttemptRef(run="r", attempt=number)


class Files:
    """A container's files as dockerd's `json-file` keeps them: the newest without a number."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.newest = root / "containers/c/c-json.log"
        self.newest.parent.mkdir(parents=True)

    def write(self, *pieces: tuple[float, str]) -> None:
        with self.newest.open("a", encoding="utf-8") as file:
            for at, text in pieces:
                moment = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat().replace("+00:00", "Z")
                file.write(json.dumps({"log": text, "stream": "stdout", "time": moment}) + "\n")

    def rotate(self) -> None:
        for number in (1, 0):
            older = self.newest.with_name(f"c-json.log.{number}") if number else self.newest
            if older.exists():
                older.rename(self.newest.with_name(f"c-json.log.{number + 1}"))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "engine")


def test_what_a_removed_container_has_left(printer: Printer, files: Files) -> None:
    printer.say((10, "a\n"), (11, "b\n"))
    assert printer.run(over=False) == b"a\nb\n"
    files.write((10, "a\n"), (11, "b\n"))
    held = unread.Unread(str(files.root), "c")
    files.write((12, "ü\n"), (12.5, "half a li"))
    shutil.rmtree(files.root)
    for _ in range(2):
        printer.pump.run(held, "c", over=True)
        assert printer.run() == "a\nb\nü\nhalf a li".encode()
    held.close()


def test_of_what_a_removed_container_has_left_nothing_is_guessed(files: Files) -> None:
    files.write((10, "a"))
    files.rotate()
    files.write((20, "b"))
    both = unread.Unread(str(files.root), "c")
    assert [each.data for each in both.output("c", 5 * SECOND)] == [b"a", b"b"]
    files.rotate()
    files.write((30, "c"))
    newer = unread.Unread(str(files.root), "c")  # "b" and "c", and "a" lies before them
    assert list(newer.output("c", 15 * SECOND)) == []
    assert [each.data for each in newer.output("c", 20 * SECOND)] == [b"b", b"c"]
    with files.newest.open("a") as file:
        file.write('{"log": "cut sho')
    assert [each.data for each in newer.output("c", 25 * SECOND)] == [b"c"]
    for held in (both, newer):
        held.close()


def test_what_cannot_be_seen_cannot_be_held(files: Files) -> None:
    with pytest.raises(OSError):
        unread.Unread(str(files.root), "c")
