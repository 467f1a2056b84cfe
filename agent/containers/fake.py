"""A container engine without containers, for those who test what uses one."""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent import verdicts
from agent.containers import seam
from reconciler import errors
from reconciler.core import container as words


@dataclass(slots=True, kw_only=True)
class FakeContainer:
    """One container. A test ends it, and has it print."""

    id: str
    name: str
    body: Mapping[str, Any]
    created: float
    image: str = ""
    """Id of what it was made of."""
    state: seam.State = seam.State.CREATED
    started_at: float | None = None
    ended_at: float | None = None
    code: int = 0
    out_of_memory: bool = False
    witnessed: bool = True
    output: list[seam.Line] = field(default_factory=list)
    pid: int = 0
    """A real process that stands for its first one."""
    restored: str = ""
    """Folder from which it was restored."""
    volumes: tuple[str, ...] = ()
    """Names of those that were made for it."""


@dataclass(slots=True)
class FakeDocker:
    """`seam.Docker` in memory. A started container runs until it is stopped or `end` is called."""

    clock: Callable[[], float]
    """POSIX seconds."""
    judge: verdicts.Judge | None = None
    """Asked as the interposer would, for containers that carry the marker."""
    images: dict[str, seam.Image] = field(default_factory=dict)
    """By name."""
    offered: dict[str, seam.Image] = field(default_factory=dict)
    """What a registry has, by name."""
    closed: set[str] = field(default_factory=set)
    """Registries that give nothing to anybody."""
    away: set[str] = field(default_factory=set)
    """Registries that do not answer."""
    known: seam.About = field(
        default_factory=lambda: seam.About(
            version="26.1.5", runtimes={"perdure": "/usr/local/bin/perdure-runc"}, default_runtime="perdure"
        )
    )
    trouble: errors.PerdureError | None = None
    """What every call raises."""
    calls: Counter[str] = field(default_factory=Counter)
    pulled: list[Mapping[str, str] | None] = field(default_factory=list)
    """Credentials of each pull."""
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    """By id."""
    ended: list[seam.End] = field(default_factory=list)

    def close(self) -> None:
        """There is nothing to let go of."""

    def about(self) -> seam.About:
        """Return `known`."""
        self._called("about")
        return self.known

    def list(self, label: str) -> tuple[seam.Listed, ...]:
        """Return the containers with a label."""
        self._called("list")
        return tuple(
            seam.Listed(
                id=one.id,
                state=one.state,
                labels=one.body.get("Labels", {}),
                image=one.image,
                created=one.created,
                volumes=one.volumes,
            )
            for one in self.containers.values()
            if label in one.body.get("Labels", {})
        )

    def inspect(self, container: str) -> seam.Detail:
        """Return more of one."""
        self._called("inspect")
        one = self._found(container)
        return seam.Detail(
            running=one.state in (seam.State.RUNNING, seam.State.PAUSED),
            pid=one.pid,
            started_at=one.started_at,
            ended_at=one.ended_at,
            code=one.code,
            out_of_memory=one.out_of_memory,
            witnessed=one.witnessed,
            variables=tuple(one.body.get("Env", ())),
        )

    def image(self, name: str) -> seam.Image | None:
        """Return an image by name, digest or id."""
        self._called("image")
        return self.images.get(name) or next(
            (each for each in self.images.values() if name == each.id or name in each.digests), None
        )

    def pull(self, name: str, credentials: Mapping[str, str] | None) -> None:
        """Take it from `offered`."""
        self._called("pull")
        self.pulled.append(credentials)
        host = name.partition("/")[0]
        if host in self.away:
            raise errors.Unavailable(f"image {name} cannot be pulled: connection refused")
        if host in self.closed:
            raise seam.Denied(f"image {name} cannot be pulled: unauthorized: authentication required")
        if name not in self.offered:
            raise errors.Refused(f"image {name} cannot be pulled: manifest unknown")
        self.images[name] = self.offered[name]

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container."""
        self._called("create")
        if any(one.name == name for one in self.containers.values()):
            raise errors.Busy(f"container {name} cannot be created: the name is in use")
        image = self.image(body["Image"])
        if image is None:
            raise seam.Gone(f"container {name} cannot be created: no such image {body['Image']}")
        identity = hashlib.sha256(f"{name} {len(self.containers)} {self.calls['create']}".encode()).hexdigest()
        volumes = tuple(hashlib.sha256(f"{identity} {path}".encode()).hexdigest() for path in body.get("Volumes", {}))
        self.containers[identity] = FakeContainer(
            id=identity, name=name, body=body, created=self.clock(), image=image.id, volumes=tuple(sorted(volumes))
        )
        return identity

    def start(self, container: str) -> None:
        """Ask the judge, then run."""
        self._called("start")
        one = self._found(container)
        if one.state in (seam.State.RUNNING, seam.State.PAUSED):
            return
        asked = self._asked(one)
        if self.judge is not None and asked is not None:
            answer = self.judge.create(asked)
            if isinstance(answer, verdicts.Refuse):
                raise errors.Refused(f"container {container[:12]} cannot be started: {answer.reason}")
            one.restored = str(answer.directory) if isinstance(answer, verdicts.Restore) else ""
            self.judge.started(asked)
        one.state, one.started_at = seam.State.RUNNING, self.clock()

    def stop(self, container: str, grace: float) -> None:
        """End it by its stop signal."""
        del grace
        self._called("stop")
        self._signal(self._found(container), signal.SIGTERM, ends=True)

    def kill(self, container: str, signal: str) -> None:
        """End it by SIGKILL; every other signal it ignores."""
        self._called("kill")
        one = self._found(container)
        if one.state not in (seam.State.RUNNING, seam.State.PAUSED):
            raise errors.Refused(f"container {container[:12]} cannot be sent {signal}: it is not running")
        self._signal(one, _SIGNALS[signal], ends=signal == "SIGKILL")

    def pause(self, container: str, *, still: bool) -> None:
        """Hold it still, or let it go on."""
        self._called("pause")
        one, before = self._found(container), seam.State.RUNNING if still else seam.State.PAUSED
        if one.state is not before:
            raise errors.Refused(f"container {container[:12]} is {one.state.value}")
        one.state = seam.State.PAUSED if still else seam.State.RUNNING

    def remove(self, container: str) -> None:
        """Remove it."""
        self._called("remove")
        self.containers.pop(container, None)

    def ends(self, since: float, until: float) -> tuple[seam.End, ...]:
        """Return what has ended, also what was removed since."""
        self._called("ends")
        return tuple(end for end in self.ended if since <= end.at <= until)

    def output(self, container: str, since: int) -> Iterator[seam.Line]:
        """Yield what it has printed."""
        self._called("output")
        yield from [line for line in self._found(container).output if line.at >= since]

    def end(self, container: str, code: int = 0, *, out_of_memory: bool = False, witnessed: bool = True) -> None:
        """Let its program end by itself; without a witness: while the engine is away."""
        one = self._found(container)
        one.witnessed = witnessed
        one.state, one.ended_at, one.code, one.out_of_memory = seam.State.EXITED, self.clock(), code, out_of_memory
        self.ended.append(seam.End(id=container, at=self.clock(), code=code))

    def say(self, container: str, text: str, at: int | None = None) -> None:
        """Let its program print."""
        moment = int(self.clock() * 10**9) if at is None else at
        self._found(container).output.append(seam.Line(at=moment, data=text.encode()))

    def _signal(self, one: FakeContainer, number: int, *, ends: bool) -> None:
        asked = self._asked(one)
        if self.judge is not None and asked is not None:
            self.judge.kill(verdicts.Asked(**{**_members(asked), "signal": number}))
        if ends and one.state in (seam.State.RUNNING, seam.State.PAUSED):
            self.end(one.id, 128 + number)

    def _asked(self, one: FakeContainer) -> verdicts.Asked | None:
        prefix = f"{words.MARKER}="
        marker = next((each.removeprefix(prefix) for each in one.body.get("Env", ()) if each.startswith(prefix)), "")
        bundle = f"/bundles/{one.id}"
        return verdicts.Asked(container=one.id, namespace="moby", attempt=marker, bundle=bundle) if marker else None

    def _found(self, container: str) -> FakeContainer:
        if container not in self.containers:
            raise seam.Gone(f"there is no container {container[:12]}")
        return self.containers[container]

    def _called(self, verb: str) -> None:
        self.calls[verb] += 1
        if self.trouble is not None:
            raise self.trouble


_SIGNALS = {name: int(number) for name, number in signal.Signals.__members__.items()}


def _members(asked: verdicts.Asked) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in ("container", "namespace", "attempt", "bundle")}
