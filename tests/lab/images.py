"""Container images without a registry: folders packed into the archive that `docker load` reads."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

LEFT_OUT = ("dev/", "proc/", "run/", "sys/", "tmp/", "var/cache/", "var/lib/apt/lists/", "var/log/")
"""Contents that a container does not need, or brings along itself."""

CREATED = "2020-01-01T00:00:00Z"


def write(path: Path, tag: str, folders: Sequence[Path], command: Sequence[str]) -> None:
    """Packs overlay layers, lowest first, into one image archive."""
    layers = []
    for number, folder in enumerate(folders):
        layer = path.with_suffix(f".layer{number}")
        _pack(folder, layer)
        layers.append((layer, _digest(layer)))
    config = _encode(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "created": CREATED,
            "config": {"Cmd": list(command), "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for _, digest in layers]},
            "history": [{"created": CREATED, "created_by": "the lab"} for _ in layers],
        }
    )
    _archive(path, tag, config, [digest for _, digest in layers], layers)


def write_over(path: Path, tag: str, base: Path, folder: Path, volumes: Sequence[str]) -> None:
    """Packs one layer, with volumes, over the image of an archive `base`, which the engine that loads it must have."""
    with tarfile.open(base) as archive:
        (index,) = json.load(archive.extractfile("manifest.json") or io.BytesIO())
        about = json.load(archive.extractfile(index["Config"]) or io.BytesIO())
    layer = path.with_suffix(".layer")
    _pack(folder, layer)
    digest = _digest(layer)
    about["config"]["Volumes"] = {volume: {} for volume in volumes}
    about["rootfs"]["diff_ids"].append(f"sha256:{digest}")
    about["history"].append({"created": CREATED, "created_by": "a test"})
    below = [name.removesuffix(".tar") for name in index["Layers"]]
    _archive(path, tag, _encode(about), [*below, digest], [(layer, digest)])


def _archive(path: Path, tag: str, config: bytes, digests: Sequence[str], held: Sequence[tuple[Path, str]]) -> None:
    """Packs an image of these layers, of which those in `held` are packed into the archive and removed."""
    name = hashlib.sha256(config).hexdigest() + ".json"
    index = [{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}.tar" for digest in digests]}]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in ((name, config), ("manifest.json", _encode(index))):
            archive.addfile(_header(member, len(content)), io.BytesIO(content))
        for layer, digest in held:
            with layer.open("rb") as content_of:
                archive.addfile(_header(f"{digest}.tar", layer.stat().st_size), content_of)
            layer.unlink()


def _pack(folder: Path, layer: Path) -> None:
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in _walk(folder):
            name = path.relative_to(folder).as_posix()
            if any(name.startswith(prefix) for prefix in LEFT_OUT):
                continue
            status = path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                archive.addfile(_header(_beside(name, ".wh." + path.name), 0))  # overlay's way of saying deleted
                continue
            archive.add(path, arcname=name, recursive=False)
            if stat.S_ISDIR(status.st_mode) and _opaque(path):
                archive.addfile(_header(f"{name}/.wh..wh..opq", 0))


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)


def _opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _beside(name: str, other: str) -> str:
    parent, slash, _ = name.rpartition("/")
    return parent + slash + other


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o644
    return header


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
