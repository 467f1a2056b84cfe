"""The slow parts, made once a machine: the layers of the nodes' root and the images, in a folder named by their recipe.

The folder is made aside and renamed, under a lock: a second builder waits and finds it; a killed one leaves rubbish that
the next removes. It lies outside the checkout, so a second clone finds it too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import ability, images, recipe

PLACE = Path(os.environ.get("PERDURE_LAB_CACHE") or "/var/cache/perdure/lab")
"""Read when the module is imported: tests run with a clean environment."""

MIRROR = os.environ.get("PERDURE_LAB_MIRROR", "")
"""A Debian mirror; empty is debootstrap's own choice."""

KEPT = 14 * 24 * 3600.0
"""Seconds after its last use that a build is kept."""

ALONE = (
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"),
    *("--pid", "--fork", "--kill-child"),
)
"""In mount and process namespaces of its own: nothing stays mounted, and nothing goes on when the builder is killed."""

LAYER_SCRIPT = Path(__file__).with_name("layer.sh")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What is built."""

    place: Path

    def layer(self, name: str) -> Path:
        """The folder of one layer."""
        return self.place / "layers" / name

    @property
    def lower(self) -> str:
        """The `lowerdir` of a node's overlay."""
        return ":".join(str(self.layer(name)) for name in recipe.NODE)

    @property
    def seed(self) -> Path:
        """What a new dockerd's data directory starts from, where it is made: see seed.py."""
        return self.place / "docker"

    def image(self, tag: str) -> Path:
        """The archive of one image, as `docker load` and `ctr images import` read it."""
        return self.place / "images" / (tag.replace("/", "_").replace(":", "_") + ".tar")


def ensure(say: Say = lambda line: None) -> Cache:
    """Builds what is missing, or waits for the one who builds it. Raises ability.LabUnable where a tool is missing."""
    ability.install_tools(say)
    return Cache(place=build(recipe.digest(), lambda place: _build(Cache(place=place), say)))


def build(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, complete: made by `make` aside, under a lock, where it is missing."""
    place = PLACE / name
    if not place.is_dir():
        with _locked():
            if not place.is_dir():
                for rubbish in PLACE.glob(".building-*"):
                    shutil.rmtree(rubbish)
                aside = PLACE / f".building-{os.getpid()}"
                (aside / "layers").mkdir(parents=True)
                make(aside)
                os.rename(aside, place)
    os.utime(place)  # what `prune` goes by
    return place


def prune() -> None:
    """Throws away what nobody has used for `KEPT`: a recipe of long ago, and no folder of a lab that runs."""
    with _locked():
        for path in PLACE.iterdir():
            if path.is_dir() and path.name != "slots" and time.time() - path.stat().st_mtime > KEPT:
                shutil.rmtree(path)


def _build(cache: Cache, say: Say) -> None:
    with timed(say, f"Debian {recipe.SUITE}, minimal"):
        _debootstrap(cache.layer(recipe.BASE.name))
    for layer in recipe.LAYERS:
        with timed(say, f"layer {layer.name}"):
            install(cache.layer(layer.name), [cache.layer(name) for name in layer.over], layer.packages)
    (cache.place / "images").mkdir()
    for image in recipe.IMAGES:
        with timed(say, f"image {image.tag}"):
            folders = [cache.layer(name) for name in image.layers] or [_tiny(cache)]
            images.write(cache.image(image.tag), image.tag, folders, image.command)


def _debootstrap(folder: Path) -> None:
    mirror = [MIRROR] if MIRROR else []
    command([*ALONE, "debootstrap", "--variant=minbase", recipe.SUITE, str(folder), *mirror])


def install(folder: Path, over: Sequence[Path], packages: Sequence[str]) -> None:
    """Installs packages into a layer over others, topmost first, or into a root of its own where there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    lower = ":".join(str(one) for one in over)
    command([*ALONE, "/bin/sh", str(LAYER_SCRIPT), str(folder), lower, *packages])


def _tiny(cache: Cache) -> Path:
    folder = cache.layer("tiny")
    for name in ("bin", "etc", "tmp", "var"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    busybox = folder / "bin" / "busybox"
    shutil.copy2(cache.layer(recipe.ENGINES.name) / "usr" / "bin" / "busybox", busybox)
    for applet in subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if applet != "busybox":
            (folder / "bin" / applet).symlink_to("busybox")
    return folder


def command(argv: Sequence[str]) -> None:
    """Runs a step of a build. Raises LabUnable with the end of what it printed."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
    }
    result = subprocess.run(
        argv,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-20:])
        raise ability.LabUnable(f"the lab's root could not be built: {' '.join(argv[:8])} … failed:\n{tail}")


@contextmanager
def _locked() -> Iterator[None]:
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def timed(say: Say, what: str) -> Iterator[None]:
    """Says how many seconds a step took."""
    start = time.monotonic()
    yield
    say(f"lab: {what}: {time.monotonic() - start:.1f} s")


def tell(line: str) -> None:
    """Says a line of progress to a person."""
    print(line, file=sys.stderr, flush=True)
