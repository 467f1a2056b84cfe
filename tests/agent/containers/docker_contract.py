"""What every `seam.Docker` promises: held against the fake and against dockerd."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

import pytest

from agent.containers import seam
from reconciler import errors
from reconciler.core import container
from tests import conditions

State = seam.State
REF = "0" * 32


class Bench(Protocol):
    """An engine, and programs that run in it."""

    docker: seam.Docker
    image: str
    """Name of an image that it has."""

    def waits(self) -> Mapping[str, Any]:
        """What a body needs so that the program runs until it is ended."""
        ...

    def says(self, *lines: str, code: int) -> Mapping[str, Any]:
        """What a body needs so that the program prints these lines, after its start, and ends with a status."""
        ...

    def settle(self) -> None:
        """Let what has begun to run do what it does."""
        ...


class DockerContract:
    """Subclasses provide the fixture `bench`."""

    def body(self, bench: Bench, more: Mapping[str, Any]) -> dict[str, Any]:
        return {"Image": bench.image, "Labels": {container.ATTEMPT: "1", container.RUN: REF, container.INSTANCE: "i"}, **more}

    def listed(self, bench: Bench, identity: str) -> seam.Listed | None:
        return next((each for each in bench.docker.list(container.ATTEMPT) if each.id == identity), None)

    def made(self, bench: Bench, more: Mapping[str, Any] | None = None) -> str:
        wanted = self.body(bench, bench.waits() if more is None else more)
        return bench.docker.create(f"perdure-{secrets.token_hex(8)}", wanted)

    def until(self, bench: Bench, identity: str, state: State) -> None:
        def reached() -> bool:
            bench.settle()
            listed = self.listed(bench, identity)
            return listed is not None and listed.state is state

        conditions.eventually(reached)

    def test_a_container_from_its_creation_to_its_removal(self, bench: Bench) -> None:
        identity = self.made(bench, {**bench.waits(), "Env": ["GIVEN=so it was"]})
        listed = self.listed(bench, identity)
        assert listed is not None
        assert (listed.state, listed.labels[container.RUN]) == (State.CREATED, REF)
        image = bench.docker.image(bench.image)
        assert image is not None
        assert listed.image == image.id
        bench.docker.start(identity)
        self.until(bench, identity, State.RUNNING)
        detail = bench.docker.inspect(identity)
        assert detail.running
        assert detail.started_at is not None
        assert "GIVEN=so it was" in detail.variables
        bench.docker.start(identity)  # runs, and stays as it is
        bench.docker.stop(identity, 0.0)
        self.until(bench, identity, State.EXITED)
        detail = bench.docker.inspect(identity)
        assert not detail.running
        assert detail.code > 128
        assert detail.started_at is not None
        assert detail.ended_at is not None
        assert detail.started_at <= detail.ended_at
        bench.docker.stop(identity, 0.0)  # has ended, and stays as it is
        bench.docker.remove(identity)
        assert self.listed(bench, identity) is None
        bench.docker.remove(identity)

    def test_what_carries_no_label_is_not_listed(self, bench: Bench) -> None:
        identity = bench.docker.create(f"perdure-{secrets.token_hex(8)}", {"Image": bench.image, **bench.waits()})
        assert self.listed(bench, identity) is None

    def test_volumes_that_nobody_has_named_are_listed_before_it_runs(self, bench: Bench) -> None:
        """`create` of the runtime asks for them while the engine waits for it."""
        identity = self.made(bench, {**bench.waits(), "Volumes": {"/data": {}, "/more": {}}})
        other = self.made(bench)
        listed = self.listed(bench, identity)
        assert listed is not None
        assert len(listed.volumes) == 2
        assert all(len(name) == 64 for name in listed.volumes)
        again = self.listed(bench, other)
        assert again is not None
        assert again.volumes == ()

    def test_an_exit_status_and_the_output_are_kept(self, bench: Bench) -> None:
        identity = self.made(bench, bench.says("one", "two", "three", code=3))
        bench.docker.start(identity)
        self.until(bench, identity, State.EXITED)
        assert bench.docker.inspect(identity).code == 3
        lines = list(bench.docker.output(identity, 0))
        assert b"".join(line.data for line in lines) == b"one\ntwo\nthree\n"
        assert all(line.at > 10**18 for line in lines)
        rest = list(bench.docker.output(identity, lines[1].at))
        assert b"".join(line.data for line in rest).endswith(b"two\nthree\n")
        assert list(bench.docker.output(identity, lines[-1].at + 10**9)) == []

    def test_an_end_that_it_saw_is_the_programs_whatever_its_status(self, bench: Bench) -> None:
        identity = self.made(bench, bench.says("one", code=255))
        bench.docker.start(identity)
        self.until(bench, identity, State.EXITED)
        found = bench.docker.inspect(identity)
        assert (found.code, found.witnessed) == (255, True)

    def test_a_container_stands_still_and_goes_on(self, bench: Bench) -> None:
        identity = self.made(bench)
        bench.docker.start(identity)
        bench.docker.pause(identity, still=True)
        self.until(bench, identity, State.PAUSED)
        with pytest.raises(errors.Refused):
            bench.docker.pause(identity, still=True)
        bench.docker.pause(identity, still=False)
        self.until(bench, identity, State.RUNNING)
        bench.docker.kill(identity, "SIGKILL")
        self.until(bench, identity, State.EXITED)
        assert bench.docker.inspect(identity).code == 137
        with pytest.raises(errors.Refused):
            bench.docker.kill(identity, "SIGUSR1")

    def test_a_name_is_given_once(self, bench: Bench) -> None:
        wanted, name = self.body(bench, bench.waits()), f"perdure-{secrets.token_hex(8)}"
        bench.docker.create(name, wanted)
        with pytest.raises(errors.Busy):
            bench.docker.create(name, wanted)

    def test_what_has_ended_is_told_also_after_it_was_removed(self, bench: Bench) -> None:
        identity = self.made(bench, bench.says("one", code=3))
        bench.docker.start(identity)
        self.until(bench, identity, State.EXITED)
        began = bench.docker.inspect(identity).started_at or 0.0
        ended = bench.docker.inspect(identity).ended_at or began
        bench.docker.remove(identity)
        ends = bench.docker.ends(began, ended + 2)  # whole seconds count, and it may be told a moment after it ended
        assert [end.code for end in ends if end.id == identity] == [3]
        assert bench.docker.ends(0.0, 1.0) == ()

    def test_what_is_not_there_is_gone(self, bench: Bench) -> None:
        nobody = "f" * 64
        with pytest.raises(seam.Gone):
            bench.docker.inspect(nobody)
        with pytest.raises(seam.Gone):
            bench.docker.start(nobody)
        with pytest.raises(seam.Gone):
            list(bench.docker.output(nobody, 0))
        with pytest.raises(seam.Gone):
            bench.docker.create(
                f"perdure-{secrets.token_hex(8)}", {**self.body(bench, bench.waits()), "Image": "no/such:image"}
            )

    def test_images_by_name_and_by_id(self, bench: Bench) -> None:
        found = bench.docker.image(bench.image)
        assert found is not None
        assert bench.docker.image(found.id) == found
        assert bench.docker.image("no/such:image") is None

    def test_what_nobody_offers_is_not_pulled(self, bench: Bench) -> None:
        with pytest.raises((errors.Refused, errors.Unavailable)):
            bench.docker.pull("127.0.0.1:1/no/such:image", None)

    def test_it_says_what_it_is(self, bench: Bench) -> None:
        about = bench.docker.about()
        assert about.version
        assert about.default_runtime in about.runtimes
        assert not about.rootless
        assert not about.userns
