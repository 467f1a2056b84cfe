"""ARCH and Tardis: environment variables by which a container names a path of the host for its image, without an agent.

    ARCH_ENABLE=1                  only this value
    ARCH_CHECKPOINT_HOST_PATH      basic mode: the image is `<path>/<namespace>/<key>`
    ARCH_SHAREDFS_HOST_PATH        shared mode, wins: `<path>/checkpoint/<namespace>/<key>`, and a work directory
    ARCH_NETWORKFS_HOST_PATH       the same by its older name
    ARCH_WORKDIR_CONTAINER_PATH    where `<path>/work/<namespace>/<key>` is mounted in shared mode, and the new cwd; /tmp
    ARCH_ENABLE_MANAGED_EBS …      never did anything, and does nothing here

Every name may begin with TARDIS_ instead. The key is AWS_BATCH_JOB_ID, else the container's id. The path must lie below a root
of /etc/perdure/runtime.json, without a link on the way; where no root or namespace allows it the variables mean nothing. An
image is made aside and takes its place by a rename: it is whole, or not there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from agent.runtime import call, compare, system, tree
from agent.runtime.call import Call, Config, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VAR = os.environ.get("PERDURE_VAR", "/var/lib/perdure")
DEFAULTS = {"ARCH": "/var/tmp/arch/checkpoint", "TARDIS": "/var/lib/tardis/checkpoint"}
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


class Meaningless(Exception):
    """The variables mean nothing for this container: it is as any other. The message says why, for our log."""


class Archive(NamedTuple):
    """Where a container's image lies."""

    root: str
    """The allowed folder that it lies below."""
    image: str
    work: str
    """Folder that is mounted into the container in shared mode, else empty."""


def find(made: Call, machine: Config, config: Config, variables: Sequence[str]) -> Archive | None:
    """Read the variables and, in shared mode, put the work directory into the bundle's configuration.

    Return None for a container without them. Raises `Meaningless`, and `Refused` where they are allowed and cannot be obeyed.
    """
    values = {name: value for name, _, value in (one.partition("=") for one in reversed(variables))}
    brand = next((brand for brand in DEFAULTS if values.get(f"{brand}_ENABLE") == "1"), None)
    if brand is None:
        return None
    if made.namespace not in machine["arch"]["namespaces"]:
        raise Meaningless(
            f"{brand}_ENABLE is off in namespace {made.namespace}: see arch.namespaces in {call.ETC}/runtime.json"
        )

    def value(*names: str) -> str:
        return next((values[f"{brand}_{name}"] for brand in DEFAULTS for name in names if values.get(f"{brand}_{name}")), "")

    shared = value("SHAREDFS_HOST_PATH", "NETWORKFS_HOST_PATH")
    said = shared or value("CHECKPOINT_HOST_PATH") or DEFAULTS[brand]
    base = said.rstrip("/")
    root = next((one for one in machine["arch"]["roots"] if base == one or base.startswith(one + "/")), None)
    if root is None or os.path.normpath(base) != base:
        raise Meaningless(f"no root in {call.ETC}/runtime.json allows {said}: see arch.roots")
    key = values.get("AWS_BATCH_JOB_ID") or made.container
    if not KEY.fullmatch(key):
        raise Refused(f"AWS_BATCH_JOB_ID is {key!r}, and a folder is named after it: letters, digits and -_.: only")
    names = os.path.join(made.namespace, key)
    if not shared:
        return Archive(root=root, image=os.path.join(base, names), work="")
    found = Archive(root=root, image=os.path.join(base, "checkpoint", names), work=os.path.join(base, "work", names))
    _must_be_mounted(base)
    _mount_work(made, config, found, value("WORKDIR_CONTAINER_PATH") or "/tmp")
    return found


def _must_be_mounted(base: str) -> None:
    """A shared file system that is not mounted would fill the host's own disk, and the next host would find nothing."""
    if not any(mount.point != "/" and f"{base}/".startswith(f"{mount.point}/") for mount in system.mounts()):
        raise Refused(f"the shared file system at {base} is not mounted on this host. Mount it")


def _mount_work(made: Call, config: Config, found: Archive, target: str) -> None:
    target = os.path.normpath(target)
    rootfs = os.path.join(os.path.abspath(made.bundle), config["root"]["path"])
    taken = any(os.path.normpath(mount["destination"]) == target for mount in config.get("mounts") or ())
    usable = os.path.isabs(target) and target != "/"
    if not usable or taken or not tree.has_folder(rootfs, target):
        why = "missing in the image, or mounted already" if usable else "no path of a folder inside the container"
        if os.path.exists(found.image):  # falling back would start it from its beginning
            raise Refused(f"{target} is {why}: see …_WORKDIR_CONTAINER_PATH. {found.image} waits to go on there")
        raise Meaningless(f"{target} is {why}: see …_WORKDIR_CONTAINER_PATH")
    user = config["process"].get("user") or {}
    with folder_below(found.work, found.root) as folder:
        os.fchown(folder, user.get("uid", 0), user.get("gid", 0))
        os.fchmod(folder, 0o755)
    bind = {"destination": target, "type": "bind", "source": found.work, "options": ["rbind", "rprivate", "rw"]}
    config["mounts"] = [*(config.get("mounts") or ()), bind]
    config["process"]["cwd"] = target


@contextmanager
def opened(where: Archive) -> Iterator[str | None]:
    """Yield a path of the image that nobody can bend meanwhile, None when there is no image."""
    with folder_below(os.path.dirname(where.image), where.root) as parent:
        name = os.path.basename(where.image)
        _mend(parent, name)
        try:
            image = os.open(name, tree.FOLDER, dir_fd=parent)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise Refused(_unusable(where.image, error)) from error
        try:
            status = os.fstat(image)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise Refused(f"{where.image} must be a folder that only root can enter")
            yield f"/proc/{os.getpid()}/fd/{image}"
        finally:
            os.close(image)


def check(config: Config, where: Archive, image: str) -> None:
    """Raise `Refused` unless the image, which lies at `where` and is opened at `image`, was made of a container with the same
    configuration as this one."""
    try:
        same = call.read_json(image, "container.json") == described(config)
    except (OSError, ValueError) as error:
        why = "it has no container.json" if isinstance(error, FileNotFoundError) else f"its container.json: {error}"
        raise Refused(
            f"the image at {where.image} is not understood ({why}); one that ARCH has made only ARCH restores. Remove it to "
            "begin anew"
        ) from error
    if not same:
        raise Refused(
            f"the image at {where.image} was made of a container with another command, user, rights or mounts. Use the same, "
            "or remove the image to begin anew"
        )
    _whole(where, image)


def sizes(image: str) -> dict[str, int]:
    """Return `sizes.json` of an image: how long each file of CRIU is."""
    folder = os.path.join(image, "criu")
    return {name: os.stat(os.path.join(folder, name)).st_size for name in os.listdir(folder)}


def _whole(where: Archive, image: str) -> None:
    """CRIU waits for the missing pages of a file that is cut short without end, and the engine with it."""
    try:
        expected = call.read_json(image, "sizes.json")
    except FileNotFoundError:
        return  # made by an earlier version
    except (OSError, ValueError) as error:
        raise Refused(f"the image at {where.image} is damaged: sizes.json: {error}. Remove it to begin anew") from error
    found = sizes(image)
    for name, size in sorted(expected.items()):
        if found.get(name) != size:
            state = f"has {found[name]} bytes of {size}" if name in found else "is missing"
            raise Refused(f"the image at {where.image} is damaged: criu/{name} {state}. Remove it to begin anew")


def described(config: Config) -> Config:
    """Return `container.json` of an image: with what in a configuration decides who its processes are and what they may do."""
    process = config["process"]
    who = {name: process.get(name) for name in ("args", "user", "capabilities", "noNewPrivileges", "apparmorProfile")}
    digest = hashlib.sha256(json.dumps(who, sort_keys=True).encode()).hexdigest()
    return {**compare.described(config), "process": digest}


@contextmanager
def aside(where: Archive) -> Iterator[str]:
    """Yield a path to fill with a new image, which takes its place when the block ends well, and is discarded otherwise."""
    with folder_below(os.path.dirname(where.image), where.root) as parent:
        name = os.path.basename(where.image)
        new, old = neighbours(name)
        with suppress(FileNotFoundError):
            tree.discard(parent, new)
        os.mkdir(new, 0o700, dir_fd=parent)
        try:
            yield f"/proc/{os.getpid()}/fd/{parent}/{new}"
            system.call("syncfs", parent)
            with suppress(FileNotFoundError):
                os.rename(name, old, src_dir_fd=parent, dst_dir_fd=parent)
            os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)
        finally:
            _mend(parent, name)
            for rest in (new, old):
                with suppress(FileNotFoundError):
                    tree.discard(parent, rest)


def _mend(parent: int, name: str) -> None:
    """Put back what lay there when a crash came between the two renames."""
    with suppress(OSError):
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        return
    with suppress(FileNotFoundError):
        os.rename(neighbours(name)[1], name, src_dir_fd=parent, dst_dir_fd=parent)


def neighbours(name: str) -> tuple[str, str]:
    """Return what may lie beside an image: one that is being made, and one that is being replaced."""
    return f".{name}.new", f".{name}.old"


def remember(made: Call, where: Archive) -> None:
    """Write down what the agent removes once the container has ended with 0 (`agent/archives.py`)."""
    folder = os.path.join(VAR, "archives", made.namespace)
    os.makedirs(folder, 0o700, exist_ok=True)
    call.write_json({"v": 1, **where._asdict()}, folder, f"{made.container}.json")


@contextmanager
def folder_below(path: str, root: str) -> Iterator[int]:
    """Yield `path`, making what is missing below `root`. Follows no link, whoever may write on the way."""
    inside = len(root.strip("/").split("/"))
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    parts = path.strip("/").split("/")
    try:
        for depth, part in enumerate(parts):
            try:
                if depth >= inside:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=folder)
                inner = os.open(part, tree.FOLDER, dir_fd=folder)
            except OSError as error:
                raise Refused(_unusable("/" + "/".join(parts[: depth + 1]), error)) from error
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _unusable(place: str, error: OSError) -> str:
    """Return why a folder cannot be opened, not in the words of the system: Docker takes some of them for its own mistakes."""
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return f"{place} is no folder, or a symbolic link: none is followed"
    return f"{place} is missing" if error.errno == errno.ENOENT else f"{place} cannot be opened ({error.strerror})"
