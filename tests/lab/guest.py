"""A second kernel: Debian's cloud kernel in QEMU under software emulation, for what this machine's own kernel cannot show.

It has cgroup v2 with all its controllers, soft-dirty tracking, CAP_SYS_RESOURCE and AppArmor; it is about ten times slower than
a node, so it is for a handful of correctness cases and never for figures. Its root has the engines of a node; a second disk has
room for a lab, and what a dockerd with all images of the lab starts from.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab import ability, cache, recipe, seed
from tests.lab.cache import Cache, Say
from tests.lab.recipe import Layer

KERNEL = Layer(
    name="kernel",
    over=("engines", "base"),
    packages=("apparmor", "dbus", "initramfs-tools", "linux-image-cloud-amd64", "systemd", "zstd"),
)
EMULATOR = Layer(name="emulator", over=("base",), packages=("qemu-system-x86",))
FORMAT = 2
MODULES = ("ext4", "virtio_blk", "virtio_pci")
"""What the kernel needs to reach its root."""

HERE = Path(__file__).parent
SIZE, ROOM = "4g", "6g"
"""Of the root, and of the disk for a lab."""

OURS = HERE / "guest_root"
"""What its root has of ours."""
SCRIPT = (*cache.ALONE, "/bin/sh", str(HERE / "guest.sh"))

MEMORY = 2048
"""MiB of the guest."""

PLAIN, SYSTEMD = "init=/usr/sbin/lab-init", "init=/lib/systemd/systemd systemd.unit=lab.service systemd.show_status=false"
"""What its first process is, as the kernel is told."""

TOLD = re.compile(r"^LAB BEGIN\n(.*)\nLAB END (\d+)$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a script in the guest did."""

    status: int
    output: str


class Guest:
    """Runs scripts, each in a freshly booted guest; what one writes, the next does not see."""

    def __init__(self, say: Say = cache.tell) -> None:
        self._cache = cache.ensure(say)
        self._place = ensure(self._cache, say)

    def run(
        self, script: str, *, files: Mapping[str, str | Path] | None = None, init: str = PLAIN, timeout: float = 600.0
    ) -> Outcome:
        """Boots, runs a shell script as root, powers off.

        `files` are laid at /given, read-only: texts, or files and folders of this machine. Raises AssertionError where the
        guest does not come to the script's end, and TimeoutExpired when that takes longer than `timeout` seconds.
        """
        with tempfile.TemporaryDirectory(prefix="perdure-guest-") as temporary:
            folder = Path(temporary)
            _give({"script": script, **(files or {})}, folder)
            return self._boot(folder, init, timeout)

    def _boot(self, folder: Path, init: str, timeout: float) -> Outcome:
        # Without its defences against what shares its processor an emulated kernel spends far less on each system call.
        emulator = [
            *("qemu-system-x86_64", "-accel", "tcg,tb-size=512", "-cpu", "Nehalem", "-smp", "1", "-m", str(MEMORY)),
            *("-nographic", "-no-reboot", "-net", "none", "-kernel", "/mnt/vmlinuz", "-initrd", "/mnt/initrd"),
            *("-append", f"console=ttyS0 root=/dev/vda rw {init} quiet panic=-1 mitigations=off"),
            *("-drive", "file=/mnt/root.ext4,if=virtio,format=raw,snapshot=on"),
            *("-drive", "file=/media/given.ext4,if=virtio,format=raw,readonly=on"),
            *("-drive", "file=/mnt/room.ext4,if=virtio,format=raw,snapshot=on,cache=unsafe"),
        ]
        lower = f"{self._place / 'layers' / EMULATOR.name}:{self._cache.layer(recipe.BASE.name)}"
        result = subprocess.run(
            [*SCRIPT, "run", lower, str(self._place), str(folder), "env", "TMPDIR=/media", *emulator],
            check=False,
            env={"PATH": ability.PATH},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        console = result.stdout.decode(errors="replace").replace("\r", "")
        found = TOLD.search(console)
        assert found, f"the guest did not come to the script's end:\n{console[-4000:]}"
        return Outcome(status=int(found[2]), output=found[1])


def ensure(built: Cache, say: Say) -> Path:
    """Builds the kernel, the root image and the emulator where they are missing; answers their folder."""
    values = {
        "format": FORMAT,
        "root": recipe.digest(),
        "ours": {str(path.relative_to(OURS)): path.read_text() for path in sorted(OURS.rglob("*")) if path.is_file()},
        "layers": [asdict(KERNEL), asdict(EMULATOR)],
    }
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    return cache.build(f"guest-{digest}", lambda place: _build(built, place, say))


def _build(built: Cache, place: Path, say: Say) -> None:
    kernel, emulator = (place / "layers" / layer.name for layer in (KERNEL, EMULATOR))
    extra = kernel / "usr/share/initramfs-tools/modules.d/lab"
    for path, text in ((extra, "\n".join(MODULES)), (kernel / "etc/initramfs-tools/conf.d/lab", "MODULES=list\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with cache.timed(say, "guest: kernel"):
        cache.install(kernel, [built.layer(name) for name in KERNEL.over], KERNEL.packages)
    with cache.timed(say, "guest: emulator"):
        cache.install(emulator, [built.layer(name) for name in EMULATOR.over], EMULATOR.packages)
    shutil.copytree(OURS, kernel, dirs_exist_ok=True)
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        shutil.copy(next((kernel / "boot").glob(pattern)), place / name)
    with cache.timed(say, "guest: root image"):
        lower = ":".join(str(one) for one in (kernel, *(built.layer(name) for name in KERNEL.over)))
        cache.command([*SCRIPT, "image", lower, str(place / "root.ext4"), SIZE])
    with cache.timed(say, "guest: room for a lab"):
        room = place / "room"
        seed.fill(room / built.seed.name, [image.tag for image in recipe.IMAGES])
        _pack(room, place / "room.ext4", ROOM)
        shutil.rmtree(room)


def _give(files: Mapping[str, str | Path], folder: Path) -> None:
    """Packs what a run is given into the guest's second disk."""
    given = folder / "given"
    given.mkdir()
    for name, content in files.items():
        place = given / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            place.write_text(content)
        elif content.is_dir():
            shutil.copytree(content, place, symlinks=True)
        else:
            shutil.copy2(content, place)
    used = sum(path.lstat().st_size for path in given.rglob("*"))
    size = f"{used * 2 // 1024 + 8192}k"
    _pack(given, folder / "given.ext4", size)


def _pack(folder: Path, image: Path, size: str) -> None:
    cache.command(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1", "-d", str(folder), str(image), size]
    )
