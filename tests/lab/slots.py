"""Slots: several labs at once on one machine, each with names and addresses of its own, and the reaper of dead ones.

A slot is a lock file. Whoever holds the lock owns the slot's bridge, links, control groups and folder; a lock that can be
had although there are leftovers means that their lab is dead, so they are swept.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests import conditions
from tests.lab import ability, cgroups

LOCKS = Path("/run/perdure-lab")
COUNT = 99
NETWORK = "198.18"
"""The range that is set aside for benchmarks of network devices: it is nobody's real address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One lab's share of the machine."""

    number: int
    folder: Path
    """Nodes' writable layers and engine data; on the same file system as the cache."""

    @property
    def bridge(self) -> str:
        """The network device that joins the nodes."""
        return f"plab{self.number}"

    @property
    def group(self) -> str:
        """The control group of the lab."""
        return f"{cgroups.TREE}/{self.number}"

    def link(self, index: int) -> str:
        """The outer end of a node's link."""
        return f"plab{self.number}-{index}"

    def hardware(self, index: int) -> str:
        """A node's hardware address: always the same for one index, or who knew its predecessor would go on writing to that."""
        return f"02:70:64:72:{self.number:02x}:{index:02x}"

    def address(self, index: int) -> str:
        """A node's address; 254 is the outer machine's."""
        return f"{NETWORK}.{self.number}.{index}"


def take(place: Path) -> tuple[Slot, int]:
    """The first free slot, swept, and the descriptor of its lock. `place` is where the folders of slots lie."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    for number in range(1, COUNT + 1):
        lock = os.open(LOCKS / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(lock):
            slot = Slot(number=number, folder=place / "slots" / str(number))
            sweep(_last(lock, slot))
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"folder": str(slot.folder)}).encode(), 0)
            slot.folder.mkdir(parents=True, exist_ok=True)
            reap(place)
            return slot, lock
        os.close(lock)
    raise ability.LabUnable(f"all {COUNT} slots of {LOCKS} are taken: end a lab that you no longer need")


def reap(place: Path) -> None:
    """Sweeps every slot whose lab is dead."""
    for path in LOCKS.glob("*.lock"):
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if _lock(lock) and os.fstat(lock).st_size:
                number = int(path.stem)
                sweep(_last(lock, Slot(number=number, folder=place / "slots" / str(number))))
                os.ftruncate(lock, 0)
        finally:
            os.close(lock)


def sweep(slot: Slot) -> None:
    """Removes all that a lab has made; what is not there is success."""
    conditions.eventually(lambda: cgroups.kill(slot.group), timeout=60, message=f"processes of lab {slot.number} do not die")
    for device in Path("/sys/class/net").glob(f"{slot.bridge}*"):
        if device.name == slot.bridge or device.name.startswith(f"{slot.bridge}-"):
            subprocess.run(["ip", "link", "delete", device.name], check=False, capture_output=True)
    cgroups.remove(slot.group)
    subprocess.run(["rm", "-rf", str(slot.folder)], check=True)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last(lock: int, slot: Slot) -> Slot:
    """The slot as its last owner had it: its folder may lie in another cache."""
    try:
        folder = json.loads(os.pread(lock, 4096, 0))["folder"]
    except (ValueError, KeyError):
        return slot
    return Slot(number=slot.number, folder=Path(folder))
