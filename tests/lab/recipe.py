"""What the lab's machines are made of: Debian packages in layers, and the container images cut from them.

A change here is a new digest, so a new cache folder: a root that exists is never changed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

SUITE = "trixie"
"""Debian 13: its criu works on current kernels, which Debian 12's does not."""

FORMAT = 1
"""Raised when the builder makes something else of the same recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Packages installed over other layers, kept as the upper directory of an overlay."""

    name: str
    over: tuple[str, ...]
    """The layers below, topmost first."""
    packages: tuple[str, ...]
    """Of `SUITE`, or, after a slash, of another suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """A container image made of layers, or, where there are none, of one static busybox."""

    tag: str
    layers: tuple[str, ...]
    """Lowest first, as images list them."""
    command: tuple[str, ...]


BASE = Layer(name="base", over=(), packages=("ca-certificates", "procps", "python3", "python3-numpy"))
"""What a job's container holds, and what everything else stands on."""

SERVICES = Layer(name="services", over=("base",), packages=("postgresql", "redis-server"))
"""Programs nobody wrote for us, as honest stress."""

ENGINES = Layer(
    name="engines",
    over=("base",),
    packages=(
        *("busybox-static", "conntrack", "containerd", "docker-cli", "docker.io", "podman", "runc", "tini"),
        *("curl", "iproute2", "iptables", "iputils-ping", "kmod", "netavark", "nftables"),
        *("gcc", "git", "libc6-dev", "openssh-client", "openssh-server", "sshfs", "strace"),
        *("apache2-utils", "docker-registry"),
        *("criu/forky", "libcompel1/forky", "libnet9/forky", "libnl-3-200/forky"),  # 4.1 fails on sockets of kernels since 6.16
        # What an interpreter that was built on the outer machine wants to link with.
        *("libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8t64", "libsqlite3-0", "libssl3t64"),
    ),
)
"""What a node has over a plain machine: engines, criu, network tools, a compiler for test programs."""

LAYERS = (BASE, SERVICES, ENGINES)
NODE = ("engines", "base")
"""The layers of a node's root, topmost first."""

IMAGES = (
    ImageRecipe(tag="perdure-lab/base:1", layers=("base",), command=("python3",)),
    ImageRecipe(tag="perdure-lab/services:1", layers=("base", "services"), command=("/bin/sh",)),
    ImageRecipe(tag="perdure-lab/tiny:1", layers=(), command=("/bin/sh",)),
)
BASE_IMAGE, SERVICES_IMAGE, TINY_IMAGE = (image.tag for image in IMAGES)
USUAL = (BASE_IMAGE, TINY_IMAGE)
"""The images that an engine of the lab has when nobody asks for others."""


def digest() -> str:
    """The name of this recipe's folder in the cache."""
    values = {
        "format": FORMAT,
        "suite": SUITE,
        "layers": [asdict(one) for one in LAYERS],
        "images": [asdict(one) for one in IMAGES],
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
