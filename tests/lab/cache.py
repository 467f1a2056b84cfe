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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import ability, images, recipe
from tests.lab.recipe import Layer

PLACE = Path(os.environ.get("PERDURE_LAB_CACHE") or "/var/cache/perdure/lab")
"""Read when the module is imported: tests run with a clean environment."""

MIRROR = os.environ.get("PERDURE_LAB_MIRROR", "")
"""A Debian mirror; empty is debootstrap's own choice."""

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


def ready() -> Cache | None:
    """The cache where it is built, without building it."""
    place = PLACE / recipe.digest()
    return Cache(place=place) if place.is_dir() else None


def ensure(say: Say = lambda line: None) -> Cache:
    """Builds what is missing, or waits for the one who builds it. Raises ability.LabUnable where a tool is missing."""
    ability.install_tools(say)
    if found := ready():
        return found
    with _locked():
        if found := ready():
            return found
        for rubbish in PLACE.glob(".building-*"):
            shutil.rmtree(rubbish)
        aside = PLACE / f".building-{os.getpid()}"
        (aside / "layers").mkdir(parents=True)
        _build(Cache(place=aside), say)
        place = PLACE / recipe.digest()
        os.rename(aside, place)
        return Cache(place=place)


def _build(cache: Cache, say: Say) -> None:
    with _timed(say, f"Debian {recipe.SUITE}, minimal"):
        _debootstrap(cache.layer(recipe.BASE.name))
    for layer in recipe.LAYERS:
        with _timed(say, f"layer {layer.name}"):
            _install(cache, layer)
    (cache.place / "images").mkdir()
    for image in recipe.IMAGES:
        with _timed(say, f"image {image.tag}"):
            folders = [cache.layer(name) for name in image.layers] or [_tiny(cache)]
            images.write(cache.image(image.tag), image.tag, folders, image.command)


def _debootstrap(folder: Path) -> None:
    command = ["debootstrap", "--variant=minbase", recipe.SUITE, str(folder), *([MIRROR] if MIRROR else [])]
    _run(["unshare", "--mount", "--propagation", "private", *command])


def _install(cache: Cache, layer: Layer) -> None:
    """Installs packages in a chroot whose mounts end with it."""
    folder = cache.layer(layer.name)
    folder.mkdir(exist_ok=True)
    lower = ":".join(str(cache.layer(name)) for name in layer.over)
    _run(
        [
            *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
            *("/bin/sh", str(LAYER_SCRIPT), str(folder), lower, *layer.packages),
        ]
    )


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


def _run(command: list[str]) -> None:
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
    }
    result = subprocess.run(
        command,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-20:])
        raise ability.LabUnable(f"the lab's root could not be built: {' '.join(command[:8])} … failed:\n{tail}")


@contextmanager
def _locked() -> Iterator[None]:
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _timed(say: Say, what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    say(f"lab: {what}: {time.monotonic() - start:.1f} s")


def tell(line: str) -> None:
    """Says a line of progress to a person."""
    print(line, file=sys.stderr, flush=True)
