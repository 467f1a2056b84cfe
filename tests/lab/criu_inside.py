"""Run in a node: a container of plain runc in the interposer's shape, and the CRIU engine on it. `python -m … VERB JSON`.

Answers with a line of JSON. Without arguments it reads [VERB, {…}], a line each, and answers each with a line. Faults are put
into the store's end, where a test wants them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from agent.runtime import compare, shape, tree
from agent.runtime import volumes as own_volumes
from reconciler.contracts import engine, store
from reconciler.core import model, observed, spec
from reconciler.engines.criu import externals, leftovers, program, receiver, runtime_state
from reconciler.engines.criu.engine import CriuEngine
from reconciler.engines.criu.freeze import Freeze
from reconciler.seams import clock
from reconciler.storage.path import PathStore

RUNC = ("runc", "--root", "/run/runc")
PLACE = Path("/srv/lab/criu")
STATE = Path("/var/lib/docker/criu")
"""The engine's own folder: on the disk, not on the node's overlay."""
VOLUMES = Path("/var/lib/docker/lab")

CAPABILITIES = [
    f"CAP_{name}"
    for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_RAW", "SYS_CHROOT")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where the parts of one container lie."""

    name: str

    @property
    def folder(self) -> Path:
        return PLACE / self.name

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def upper(self) -> Path:
        return self.folder / "upper"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def container(self) -> engine.Container:
        return engine.Container(
            id=self.name,
            state_file=Path("/run/runc") / self.name / "state.json",
            bundle=self.bundle,
            volumes=tuple(path.name for path in self.volumes.glob("*")),
        )

    @property
    def volumes(self) -> Path:
        """Where an engine would have those that it has made for this container alone."""
        return VOLUMES / self.name / "volumes"

    def volume(self, destination: str) -> Path:
        """The folder of one."""
        return self.volumes / hashlib.sha256(f"{self.name} {destination}".encode()).hexdigest() / "_data"


def create(asked: dict[str, Any]) -> dict[str, Any]:
    """Start a container from its beginning.

    Names: `name`, `lower`, `command`, optional `env`, `volumes` (where it has some of its own), `config` (merged on top).
    """
    place = Place(name=asked["name"])
    _prepare(place, asked, ())
    _runc(place, "run", "--detach", "--bundle", str(place.bundle), "--pid-file", str(place.folder / "pid"), place.name)
    return {"pid": int((place.folder / "pid").read_text())}


def take(asked: dict[str, Any]) -> dict[str, Any]:
    """Take a checkpoint. Names: `name`, `store`, `run`, `attempt`, optional `stop`, `parent`, `max_frozen`, `fault`, `docker`,
    `open` (files that the agent has open).

    `docker` is the id of a container that dockerd started; without it, one of `create` and `restore`.
    """
    place = Place(name=asked["name"])
    to = _store(asked)
    ref = spec.AttemptRef(run=asked["run"], attempt=asked["attempt"])
    to.claim(ref, "test")
    meta = store.Meta(
        instance="lab",
        tenant="default",
        job="job",
        run=ref.run,
        attempt=ref.attempt,
        engine=model.EngineName.CRIU.value,
        taken_at=time.time(),
        purpose=spec.Purpose.STOP if asked.get("stop") else spec.Purpose.TIMER,
    )
    request = spec.Request(id="r", purpose=meta.purpose, then_stop=bool(asked.get("stop")))
    made = _engine()
    site = _site(place, asked)
    sinks: list[_Faulty] = []

    def open_sink(_: int | None) -> _Faulty:
        sinks.append(_Faulty(to.writer(meta, asked.get("parent", "")), asked.get("fault", "")))
        return sinks[-1]

    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(asked.get("open", 0))]
    began = time.monotonic()
    found = made.take(site, open_sink, request)
    seconds = time.monotonic() - began
    for descriptor in held:
        os.close(descriptor)
    if isinstance(found, engine.Failed):
        return {"failed": found.reason, "seconds": seconds, **(sinks[-1].committed if sinks else {}), "peak": _peak()}
    return {
        "frozen": found.taken.frozen,
        "seconds": seconds,
        **sinks[-1].committed,
        "reused": found.usage.reused_units,
        "peak": _peak(),
    }


def null(asked: dict[str, Any]) -> dict[str, Any]:
    """Have CRIU send its pages to a receiver that throws them away, and say for how long the program stood still."""
    place = Place(name=asked["name"])
    state = runtime_state.read(place.container.state_file)
    folder, trace = leftovers.begin(STATE, place.container, state)
    order = program.Order(
        pid=state.pid,
        folder=folder,
        external=externals.arguments(state),
        freezer=state.freezer,
        ghost_limit=1 << 20,
        leave_running=True,
        patience=600,
    )
    with Freeze("criu", order, trace, lambda: "") as freeze:
        freeze.pages(program.version("criu"), _Null(), lambda: None)
        freeze.standstill()
        freeze.release()
        frozen = freeze.frozen()
    leftovers.discard(folder)
    return {"frozen": frozen}


class _Null:
    """A receiver that keeps nothing."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 20)

    def begin(self, owner: receiver.Owner) -> None:
        """Nothing to note."""

    def run(self, run: receiver.Run, connection: socket.socket) -> None:
        left = run.length if run.present else 0
        while left:
            left -= connection.recv_into(self._buffer, min(left, len(self._buffer)))


def restore(asked: dict[str, Any]) -> dict[str, Any]:
    """Continue a checkpoint in a container of another name. As `create`, with `store` and `digest`."""
    place = Place(name=asked["name"])
    directory = Path("/run/restore") / place.name  # in memory, where the agent lays out what fits there
    directory.parent.mkdir(exist_ok=True)
    place.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    lay_out({**asked, "directory": str(directory)})
    prepared = time.monotonic() - began
    wanted = json.loads((directory / "container.json").read_text())["mounts"]
    config = _prepare(place, asked, wanted)
    compare.check(config, str(directory), place.container.volumes)
    own_volumes.lay(config, place.container.volumes, str(directory))
    tree.lay(str(directory), "layer", str(place.bundle / "rootfs"))
    tree.lay(str(directory), "shm", str(place.home / "shm"))
    _restore(place, str(directory / "criu"))
    seconds = time.monotonic() - began
    shutil.rmtree(directory)
    return {"pid": int((place.folder / "pid").read_text()), "prepared": prepared, "seconds": seconds}


def lay_out(asked: dict[str, Any]) -> dict[str, Any]:
    """Write the folder that the interposer restores from. Names: `name`, `store`, `digest`, `directory`."""
    made = _engine()
    image = _store(asked).open(asked["digest"])
    try:
        made.prepare_restore(
            image, dataclasses.replace(_site(Place(name=asked["name"]), asked), restore=Path(asked["directory"]))
        )
    finally:
        image.close()
    return {}


def restore_by_runc(asked: dict[str, Any]) -> dict[str, Any]:
    """What `runc restore` does with an image of `runc checkpoint` and the same files, as the figure to compare with."""
    place = Place(name=asked["name"])
    place.folder.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns(".said")  # it comes and goes
    shutil.copytree(PLACE / asked["upper"] / "upper", place.upper, symlinks=True, ignore=ignored)
    _prepare(place, asked, json.loads(_record(asked["upper"]))["mounts"])
    began = time.monotonic()
    _restore(place, asked["image"])
    return {"seconds": time.monotonic() - began}


def preflight(asked: dict[str, Any]) -> dict[str, Any]:
    """Say whether a container can be captured."""
    found = CriuEngine(clock.System(), STATE).preflight(_site(Place(name=asked["name"]), asked))
    return {"reason": found.reason, "remedy": found.remedy} if isinstance(found, engine.Cannot) else {}


def sweep(asked: dict[str, Any]) -> dict[str, Any]:
    """What an agent does when it starts."""
    del asked
    return {"swept": CriuEngine(clock.System(), STATE).sweep(), "left": [str(one) for one in STATE.iterdir()]}


def remove(asked: dict[str, Any]) -> dict[str, Any]:
    """End a container and forget it."""
    place = Place(name=asked["name"])
    subprocess.run([*RUNC, "delete", "--force", place.name], check=False, capture_output=True)
    shape.clean(str(place.home))
    subprocess.run(["umount", str(place.bundle / "rootfs")], check=False, capture_output=True)
    for folder in (place.folder, place.volumes.parent):
        shutil.rmtree(folder, ignore_errors=True)
    return {}


def _engine() -> CriuEngine:
    """An engine of an agent that has been running for a while."""
    made = CriuEngine(clock.System(), STATE)
    made.ready()
    return made


class _Faulty:
    """A sink that fails, or tells how far it is and waits for its end, where a test says so."""

    def __init__(self, real: store.Sink, fault: str) -> None:
        self._real = real
        self._fault = fault
        self._began = time.monotonic()
        self.committed: dict[str, Any] = {}

    def file(self, entry: store.FileEntry) -> None:
        self._real.file(entry)

    def extent(self, path: str, offset: int, data: bytes | memoryview) -> None:
        if path.startswith("memory/"):
            self._at("pages")
        self._real.extent(path, offset, data)

    def commit(self, step: int | None = None) -> tuple[observed.Taken, store.Usage]:
        self._at("commit")
        found = self._real.commit(step)
        taken, usage = found
        self.committed = {
            "durable": time.monotonic() - self._began,
            "cpu": time.process_time(),
            "digest": taken.digest,
            "logical": usage.logical_bytes,
            "stored": usage.stored_bytes,
        }
        self._at("committed")
        return found

    def abort(self) -> None:
        self._real.abort()

    def _at(self, stage: str) -> None:
        if self._fault == f"raise at {stage}":
            raise OSError(28, "No space left on device")
        if self._fault == f"hang at {stage}":
            print(json.dumps({"at": stage}), flush=True)
            signal.pause()
        if self._fault == f"slow at {stage}":
            threading.Event().wait(3)


def _prepare(place: Place, asked: dict[str, Any], wanted: Any) -> dict[str, Any]:
    rootfs = place.bundle / "rootfs"
    for folder in (rootfs, place.upper, place.folder / "work", place.home):
        folder.mkdir(parents=True, exist_ok=True)
    place.home.chmod(0o700)
    options = f"lowerdir={asked['lower']},upperdir={place.upper},workdir={place.folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(rootfs)], check=True)
    config = _config(asked)
    for destination in asked.get("volumes", ()):
        folder = place.volume(destination)
        folder.mkdir(parents=True)
        (folder / "of-the-image").write_text("fresh")  # what its engine copies there
        config["mounts"].append({"destination": destination, "type": "bind", "source": str(folder), "options": ["rbind"]})
    shape.give(config, str(place.home), wanted)
    (place.bundle / "config.json").write_text(json.dumps(config))
    return config


def _restore(place: Place, image: str) -> None:
    (place.home / "criu.conf").write_text("mntns-compat-mode\n")
    words = ["--image-path", image, "--work-path", str(place.folder), "--bundle", str(place.bundle)]
    words += ["--detach", "--tcp-established", "--ext-unix-sk", "--file-locks", "--pid-file", str(place.folder / "pid")]
    try:
        _runc(place, "restore", *words, place.name)
    except subprocess.CalledProcessError:
        print((place.folder / "restore.log").read_text()[-4000:], file=sys.stderr)
        raise
    (place.home / "criu.conf").write_text("")


def _record(name: str) -> bytes:
    place = Place(name=name)
    return externals.record(runtime_state.read(place.container.state_file), runtime_state.config(place.bundle))


def _config(asked: dict[str, Any]) -> dict[str, Any]:
    private = ["nosuid", "noexec", "nodev"]
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "hostname": "lab",
        "root": {"path": "rootfs"},
        "process": {
            "args": asked["command"],
            "cwd": "/",
            "env": ["PATH=/usr/bin:/bin", "PYTHONUNBUFFERED=1", *asked.get("env", [])],
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": private},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": private},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*private, "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*private, "ro"]},
            *asked.get("mounts", []),
        ],
        "linux": {
            "cgroupsPath": f"/criu/{asked['name']}",
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/sys"],
        },
    }
    return {**config, **asked.get("config", {})}


def _runc(place: Place, *words: str) -> None:
    """Run runc with pipes for output, as engines do: `cat` keeps their other ends for as long as the container writes."""
    with (place.folder / "log").open("ab") as log:
        outs = [
            subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True) for _ in range(2)
        ]
    try:
        subprocess.run([*RUNC, *words], stdin=subprocess.DEVNULL, stdout=outs[0].stdin, stderr=outs[1].stdin, check=True)
    finally:
        for one in outs:
            assert one.stdin
            one.stdin.close()


def _site(place: Place, asked: dict[str, Any]) -> engine.Site:
    nowhere = place.folder / "unused"
    return engine.Site(
        ref=spec.AttemptRef(run=asked.get("run", "0" * 32), attempt=asked.get("attempt", 1)),
        checkpoints=nowhere,
        restore=nowhere,
        request_file=nowhere,
        progress_file=nowhere,
        aside=nowhere,
        container=_of_docker(asked["docker"]) if "docker" in asked else place.container,
        max_frozen=asked.get("max_frozen"),
    )


def _of_docker(identity: str) -> engine.Container:
    return engine.Container(
        id=identity,
        state_file=Path("/run/docker/runtime-runc/moby") / identity / "state.json",
        bundle=Path("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby") / identity,
    )


def _store(asked: dict[str, Any]) -> PathStore:
    return PathStore(model.StoreSpec(name="lab", root=asked["store"]), store.Keys())


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


VERBS = {one.__name__: one for one in (create, take, null, restore, lay_out, restore_by_runc, preflight, sweep, remove)}

if __name__ == "__main__":
    os.umask(0o022)
    told = [(sys.argv[1], json.loads(sys.argv[2]))] if sys.argv[1:] else (json.loads(line) for line in sys.stdin)
    for verb, about in told:
        print(json.dumps(VERBS[verb](about)), flush=True)
