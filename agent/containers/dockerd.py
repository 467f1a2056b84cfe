"""dockerd behind the seam: https://docs.docker.com/reference/api/engine/ through the `docker` package."""

from __future__ import annotations

import contextlib
import datetime
import queue
import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import docker
import docker.errors
import docker.utils

from agent.containers import seam
from reconciler import errors

NOT_FOUND, CONFLICT = 404, 409
HEAD = struct.Struct(">4xL")
READ = 64 * 1024
PATIENCE = 30
"""Seconds for an answer that costs the engine little."""
STARTING = 600
"""Seconds for a start: a restore reads all of a checkpoint."""
PULLING = 600
"""Seconds without a word from a registry."""
UNSEEN = 255
"""Exit status that dockerd gives what ended while it was away; of a program that chose it there is an event."""
NO_START = (125, 126, 127, 128)
"""Exit statuses by which it tells of a start that failed, also of what has run before: how that ended is an event, too."""
DENIED = (
    *("unauthorized", "no basic auth", "authorization failed", "incorrect username or password", "forbidden"),
    *("denied:", "access denied", "is denied"),  # not: permission denied, which the engine's own disk may say
)
"""By which registries, and engines on their behalf, say that somebody may not have an image."""
FINAL = (
    *("manifest unknown", "not found", "no matching manifest", "invalid reference"),
    *("x509:", "http response to https client"),  # an engine that is told nothing of its registry's keys
)
"""By which they say what no later try changes."""
Kind = type[errors.PerdureError]
_GIVEN = re.compile(r"[0-9a-f]{64}")
"""The name of a volume that nobody has named."""
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class Dockerd:
    """`seam.Docker` on a unix socket."""

    def __init__(self, path: str) -> None:
        """Nothing is asked yet."""
        self._base = f"unix://{path}"
        self._socket = path
        self._idle: queue.SimpleQueue[docker.APIClient] = queue.SimpleQueue()

    def close(self) -> None:
        """Hang up. A later call connects anew."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def about(self) -> seam.About:
        """Return what the engine says of itself."""
        with self._told("it does not say what it is") as client:
            info = client.info()
            options = " ".join(info.get("SecurityOptions") or ())
            return seam.About(
                version=str(info.get("ServerVersion", "")),
                runtimes={name: _program(each) for name, each in (info.get("Runtimes") or {}).items()},
                default_runtime=str(info.get("DefaultRuntime", "")),
                rootless="name=rootless" in options,
                userns="name=userns" in options,
                root=str(info.get("DockerRootDir", "")),
                node=str((info.get("Swarm") or {}).get("NodeID", "")),
            )

    def list(self, label: str) -> tuple[seam.Listed, ...]:
        """Return all containers that carry a label."""
        with self._told("its containers cannot be listed") as client:
            return tuple(
                seam.Listed(
                    id=each["Id"],
                    state=seam.State(each["State"]),
                    labels=each.get("Labels") or {},
                    image=str(each.get("ImageID") or ""),
                    created=float(each["Created"]),
                    volumes=_nameless(each.get("Mounts") or ()),
                )
                for each in client.containers(all=True, filters={"label": [label]})
            )

    def inspect(self, container: str) -> seam.Detail:
        """Return more of a container."""
        with self._told(f"container {container[:12]} cannot be looked at") as client:
            found = client.inspect_container(container)
            state = found["State"]
            ended_at, code, witnessed = seconds(state.get("FinishedAt", "")), int(state.get("ExitCode") or 0), True
            doubtful = code == UNSEEN or (code in NO_START and state.get("Error"))
            if doubtful and not state["Running"] and ended_at is not None:
                seen = [each.code for each in self.ends(ended_at - 1, ended_at + 2) if each.id == container]
                code, witnessed = (seen[-1], True) if seen else (code, False)
            return seam.Detail(
                running=bool(state["Running"]),
                pid=int(state.get("Pid") or 0),
                started_at=seconds(state.get("StartedAt", "")),
                ended_at=ended_at,
                code=code,
                out_of_memory=bool(state.get("OOMKilled")),
                error=str(state.get("Error") or ""),
                witnessed=witnessed,
                variables=tuple((found.get("Config") or {}).get("Env") or ()),
            )

    def image(self, name: str) -> seam.Image | None:
        """Return an image that this host has."""
        try:
            with self._told(f"image {name} cannot be looked at") as client:
                found = client.inspect_image(name)
        except seam.Gone:
            return None
        config = found.get("Config") or {}
        return seam.Image(
            id=found["Id"],
            digests=tuple(found.get("RepoDigests") or ()),
            stop_signal=str(config.get("StopSignal") or ""),
            volumes=tuple(sorted(config.get("Volumes") or {})),
        )

    def pull(self, name: str, credentials: Mapping[str, str] | None) -> None:
        """Fetch an image; what the registry says against it comes in the midst of the answer."""
        repository, tag = docker.utils.parse_repository_tag(name)
        with self._told(f"image {name} cannot be pulled", PULLING, of_a_registry) as client:
            # Credentials are always given, if empty: else the package would look for a configuration of this user's own.
            said = client.pull(repository, tag=tag or "latest", stream=True, decode=True, auth_config=dict(credentials or {}))
            for each in said:
                if "error" in each:
                    text = str(each["error"])
                    raise of_a_registry(0, text)(f"image {name} cannot be pulled: {text}")

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container."""
        with self._told(f"container {name} cannot be created", kind=_of_a_name) as client:
            return str(client.create_container_from_config(dict(body), name)["Id"])

    def start(self, container: str) -> None:
        """Start it."""
        with self._told(f"container {container[:12]} cannot be started", STARTING) as client:
            client.start(container)

    def stop(self, container: str, grace: float) -> None:
        """End it."""
        with self._told(f"container {container[:12]} cannot be stopped", STARTING + round(grace)) as client:
            client.stop(container, timeout=max(0, round(grace)))

    def kill(self, container: str, signal: str) -> None:
        """Send a signal."""
        with self._told(f"container {container[:12]} cannot be sent {signal}", STARTING) as client:
            client.kill(container, signal)

    def pause(self, container: str, *, still: bool) -> None:
        """Hold it still, or let it go on."""
        with self._told(f"container {container[:12]} cannot be {'paused' if still else 'resumed'}") as client:
            (client.pause if still else client.unpause)(container)

    def remove(self, container: str) -> None:
        """Remove it."""
        with contextlib.suppress(seam.Gone), self._told(f"container {container[:12]} cannot be removed", STARTING) as client:
            client.remove_container(container, v=True, force=True)

    def ends(self, since: float, until: float) -> tuple[seam.End, ...]:
        """Return what has ended; dockerd remembers its last 256 events of any kind."""
        with self._told("it does not say what has ended") as client:
            asked = {"type": ["container"], "event": ["die"]}
            return tuple(
                seam.End(
                    id=str(each["Actor"]["ID"]),
                    at=int(each["timeNano"]) / 1e9,
                    code=int(each["Actor"]["Attributes"].get("exitCode", -1)),
                )
                for each in client.events(since=int(since), until=int(until), filters=asked, decode=True)
            )

    def output(self, container: str, since: int) -> Iterator[seam.Line]:
        """Yield its output. The answer is read as it comes: it may be longer than memory."""
        with self._told(f"the output of container {container[:12]} cannot be read") as client:
            # By hand, because the package takes whole seconds, and gives up every timeout while it reads.
            answer = client.get(
                f"{client.base_url}/v{client.api_version}/containers/{container}/logs",
                params={"stdout": "1", "stderr": "1", "timestamps": "1", "since": f"{since // 10**9}.{since % 10**9:09}"},
                stream=True,
                timeout=PATIENCE,
            )
            with answer:
                if answer.status_code == NOT_FOUND:
                    raise seam.Gone(f"container {container[:12]} is not there any more")
                answer.raise_for_status()
                for frame in frames(answer.iter_content(READ)):
                    stamp, _, data = frame.partition(b" ")
                    yield seam.Line(at=nanoseconds(stamp.decode("ascii", "replace")), data=data)

    @contextlib.contextmanager
    def _told(
        self, what: str, patience: int = PATIENCE, kind: Callable[[int, str], Kind] | None = None
    ) -> Iterator[docker.APIClient]:
        """Yield a client; every error of the package, of HTTP and of sockets, and every answer that cannot be read, becomes one
        of ours here.

        `kind` says which one a status with its text is, where that is not plain.
        """
        try:
            with self._client() as client:
                client.timeout = patience
                yield client
        except docker.errors.APIError as error:
            said = str(error.explanation or error)
            raise (kind or _of_anything)(error.status_code or 0, said)(f"{what}: {said}") from error
        except (docker.errors.DockerException, OSError) as error:  # what HTTP raises here is an OSError too
            raise errors.Unavailable(
                f"{what}: the container engine does not answer ({type(error).__name__})",
                where=self._socket,
                remedy="Is dockerd running? `systemctl status docker` says.",
            ) from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise errors.Unavailable(
                f"{what}: the container engine's answer is not one of dockerd's ({error!r:.80})", where=self._socket
            ) from error

    @contextlib.contextmanager
    def _client(self) -> Iterator[docker.APIClient]:
        """Yield one that nobody else uses: a session of `requests` is not made for two. One in doubt is not used again."""
        try:
            client = self._idle.get_nowait()
        except queue.Empty:
            with socket.socket(socket.AF_UNIX) as probe:  # the package forgets to close what it could not connect
                probe.connect(self._socket)
            client = docker.APIClient(base_url=self._base, version="auto", timeout=PATIENCE)
        try:
            yield client
        except docker.errors.APIError:
            self._idle.put(client)
            raise
        except BaseException:
            client.close()
            raise
        self._idle.put(client)


def frames(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the frames of an attached stream: a byte for the stream, three of nothing, the length, big endian."""
    data = bytearray()
    for piece in pieces:
        data += piece
        while len(data) >= HEAD.size and len(data) >= HEAD.size + (length := HEAD.unpack_from(data)[0]):
            yield bytes(data[HEAD.size : HEAD.size + length])
            del data[: HEAD.size + length]


def nanoseconds(moment: str) -> int:
    """Return a moment of RFC 3339 in nanoseconds since the epoch; 0 for what is none."""
    match = _MOMENT.fullmatch(moment)
    if match is None or match[1].startswith("0001-"):
        return 0
    zone = "+00:00" if match[3] == "Z" else match[3]
    whole = int(datetime.datetime.fromisoformat(match[1] + zone).timestamp())
    return whole * 10**9 + int((match[2] or "").ljust(9, "0"))


def seconds(moment: str) -> float | None:
    """Return a moment of RFC 3339 in POSIX seconds; None for none, and for the year 1, by which Go writes none."""
    return nanoseconds(moment) / 1e9 or None


def _program(runtime: Any) -> str:
    """Return what a runtime of the engine executes: its `path`, or the shim option that names a runc."""
    path = runtime.get("path") or (runtime.get("options") or {}).get("BinaryName") or ""
    return str(path)


def _nameless(mounts: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the volumes to which dockerd itself has given a name, among what a container has mounted."""
    names = (str(mount.get("Name", "")) for mount in mounts if mount.get("Type") == "volume")
    return tuple(sorted(name for name in names if _GIVEN.fullmatch(name)))


def _of_anything(status: int, said: str) -> Kind:
    del said
    return seam.Gone if status == NOT_FOUND else errors.Refused


def _of_a_name(status: int, said: str) -> Kind:
    return errors.Busy if status == CONFLICT else _of_anything(status, said)


def of_a_registry(status: int, said: str) -> Kind:
    """dockerd passes on what a registry says, and what it says of one that does not answer, with one and the same status."""
    text = said.lower()
    if any(word in text for word in DENIED):
        return seam.Denied
    return errors.Refused if status == NOT_FOUND or any(word in text for word in FINAL) else errors.Unavailable
