"""What a schema cannot say: one row a rule, each looking at one document of any form and naming what breaks it.

A rule reads with `places.value`, which answers None for whatever is not there or has another form: the schema's own
verdict on that is reported beside it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import Any

from reconciler.core import quantities
from reconciler.load import places, wording
from reconciler.load.places import Path
from reconciler.load.violation import Violation

Rule = Callable[[Any], Iterator[Violation]]

WORKLOAD: Path = ("spec", "workload")

NOT_YET_ON_HOSTS: tuple[tuple[Path, str, str], ...] = (
    (("spec", "resources", "gpu"), "", "remove it"),
    (("spec", "checkpoint", "engine"), "kubelet", "use criu, application or none"),
)
"""Fields (and values) of a Job that the only targets of this version cannot honour, and what to use instead."""

NOT_YET: dict[str, tuple[tuple[Path, str, str], ...]] = {
    "Job": (),
    "Checkpoint": (),
    "Store": tuple((("spec", name), "", "use spec.path") for name in ("s3", "gcs")),
    "Target": ((("spec", "kubernetes"), "", "use spec.hosts or spec.swarm"),),
    "Pool": (
        *((("spec", "provider"), name, "use static") for name in ("gcp", "aws", "vast")),
        *(
            (("spec", name), "", "remove it: the machines of a static Pool exist already")
            for name in ("machine", "gpu", "image", "spot", "min", "max", "join", "startup", "priceLimit")
        ),
    ),
}
"""Fields (and values) that are designed and not part of this version."""

KINDS_NOT_YET = ("Policy",)


def not_yet(kind: str, root: Any) -> Iterator[Violation]:
    """Yield what a later version will accept."""
    for path, value, fix in NOT_YET[kind]:
        yield from _not_yet(root, path, value, "not yet in this version", fix)
    for path, value, fix in NOT_YET_ON_HOSTS if kind == "Job" else ():
        yield from _not_yet(root, path, value, "not yet on hosts", fix)


def _not_yet(root: Any, path: Path, value: str, reason: str, fix: str) -> Iterator[Violation]:
    parent = places.value(root, path[:-1])
    if isinstance(parent, dict) and path[-1] in parent and value in ("", parent[path[-1]]):
        name = f"{places.dotted(path)}: {value}" if value else places.dotted(path)
        yield Violation(path=path, at_key=not value, message=f"{name} is {reason}", fix=fix)


def _something_to_run(root: Any) -> Iterator[Violation]:
    workload = places.value(root, WORKLOAD)
    if not isinstance(workload, dict) or workload.keys() & {"command", "image"}:
        return
    code = workload.get("code")
    if code is None:
        yield Violation(
            path=WORKLOAD,
            at_key=True,
            message="spec.workload names nothing to run",
            fix="add code with an entrypoint, or a command",
        )
    elif isinstance(code, dict) and "entrypoint" not in code:
        yield Violation(
            path=(*WORKLOAD, "code"),
            at_key=True,
            message="spec.workload.code does not say what to run",
            fix="add entrypoint, or workload.command",
        )


def _image_or_code(root: Any) -> Iterator[Violation]:
    workload = places.value(root, WORKLOAD)
    if isinstance(workload, dict) and {"image", "code"} <= workload.keys():
        yield Violation(
            path=(*WORKLOAD, "code"),
            at_key=True,
            message="spec.workload has an image and code, and a Job is one of them",
            fix="build the code into the image, or remove image",
        )


def _criu_needs_an_image(root: Any) -> Iterator[Violation]:
    path: Path = ("spec", "checkpoint", "engine")
    workload = places.value(root, WORKLOAD)
    if places.value(root, path) == "criu" and isinstance(workload, dict) and "image" not in workload:
        yield Violation(
            path=path,
            message="spec.checkpoint.engine: criu saves containers, and this Job is a plain process of its host",
            fix="give the workload an image, or use application or none",
        )


def _paths_of_the_program(root: Any) -> Iterator[Violation]:
    """With an image the program's paths are the image's own; with code they lie in the copy of it."""
    workload = places.value(root, WORKLOAD)
    if not isinstance(workload, dict):
        return
    image = "image" in workload
    paths: list[Path] = [(*WORKLOAD, "workdir")]
    paths += [(*WORKLOAD, "volumes", index, "target") for index, _ in enumerate(_items(root, (*WORKLOAD, "volumes")))]
    for path in paths:
        text = places.value(root, path)
        if not isinstance(text, str) or text.startswith("/") == image:
            continue
        here = "with an image this is an absolute path" if image else "without an image this is a relative path"
        fix = f"write {posixpath.normpath(f'/{text}') if image else posixpath.normpath(text.lstrip('/') or '.')}"
        yield Violation(path=path, message=f"{places.dotted(path)}: {here}, found {wording.show(text)}", fix=fix)


def _movable_volumes(root: Any) -> Iterator[Violation]:
    targets: set[str] = set()
    for index, volume in enumerate(_items(root, (*WORKLOAD, "volumes"))):
        if not isinstance(volume, dict):
            continue
        path: Path = (*WORKLOAD, "volumes", index)
        if volume.get("readOnly", False) is False and volume.get("shared", False) is False:
            yield Violation(
                path=path,
                message=f"{places.dotted(path)} forbids moving: what the program writes there exists on one host only",
                fix="add readOnly: true, or shared: true where every host reaches the same content",
            )
        target = volume.get("target")
        if isinstance(target, str) and target in targets:
            yield Violation(
                path=(*path, "target"), message=f"two volumes are seen at {wording.show(target)}", fix="give one another target"
            )
        if isinstance(target, str):
            targets.add(target)


def _one_source_of_a_variable(root: Any) -> Iterator[Violation]:
    env = places.value(root, (*WORKLOAD, "env"))
    for index, name in enumerate(_items(root, (*WORKLOAD, "secrets"))):
        if isinstance(env, dict) and isinstance(name, str) and name in env:
            yield Violation(
                path=(*WORKLOAD, "secrets", index),
                message=f"{wording.show(name)} is both a secret and a variable in env",
                fix="remove one of them",
            )


def _real_moment(root: Any) -> Iterator[Violation]:
    path: Path = ("spec", "suspend", "until")
    text = places.value(root, path)
    if not isinstance(text, str):
        return
    try:
        quantities.moment(text)
    except (ValueError, OverflowError):
        if len(text) >= 20 and text[10:11] in "Tt":  # the pattern's own violation tells about any other form
            yield Violation(
                path=path, message=f"spec.suspend.until: no calendar has {wording.show(text)}", fix="correct the day"
            )


def _memory_in_a_unit(root: Any) -> Iterator[Violation]:
    """A number alone is bytes, as on Kubernetes, and who writes 4 means something else."""
    path: Path = ("spec", "resources", "memory")
    value = places.value(root, path)
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not quantities.BYTES.fullmatch(text):
        return
    count = quantities.size(value)
    if count < LEAST_MEMORY:
        amount = "1 byte" if count == 1 else f"{count} bytes"
        yield Violation(
            path=path,
            message=f"{places.dotted(path)}: {wording.show(value)} means {amount}, in which nothing runs",
            fix=f"write {text}Gi, or {text}Mi" if text.isdecimal() else "write a size such as 512Mi or 2Gi",
        )


LEAST_MEMORY = 1 << 16
"""Bytes: less than any program needs to start."""


def _not_its_own_dependency(root: Any) -> Iterator[Violation]:
    name = places.value(root, ("metadata", "name"))
    for index, other in enumerate(_items(root, ("spec", "dependsOn"))):
        if other == name:
            yield Violation(
                path=("spec", "dependsOn", index), message=f"{wording.show(name)} depends on itself", fix="remove it"
            )


def _one_kind_of_target(root: Any) -> Iterator[Violation]:
    spec = places.value(root, ("spec",))
    if not isinstance(spec, dict):
        return
    kinds = [name for name in ("hosts", "swarm") if name in spec]
    if not kinds and "kubernetes" not in spec:
        yield Violation(
            path=("spec",),
            at_key=True,
            message="spec does not say what the Target is",
            fix="add hosts: {}, or swarm with a host",
        )
    elif len(kinds) > 1:
        yield Violation(
            path=("spec", "swarm"),
            at_key=True,
            message="spec has hosts and swarm, and a Target is one of them",
            fix="declare two Targets",
        )


def _tls_for_tcp(root: Any) -> Iterator[Violation]:
    """Whoever reaches a manager's API is root on every node: over a network it is never spoken without keys on both sides."""
    path: Path = ("spec", "swarm")
    swarm = places.value(root, path)
    if not isinstance(swarm, dict) or "tls" in swarm:
        return
    addresses = [((*path, "host"), swarm.get("host"))]
    addresses += [((*path, "others", index), each) for index, each in enumerate(_items(root, (*path, "others")))]
    for where, address in addresses:
        if isinstance(address, str) and address.startswith("tcp://"):
            yield Violation(
                path=where,
                message=f"{places.dotted(where)}: over tcp anybody could command the Swarm",
                fix="add tls with the name of a key pair, or use unix:///run/docker.sock on a manager",
            )


def _items(root: Any, path: Path) -> list[Any]:
    found = places.value(root, path)
    return found if isinstance(found, list) else []


TABLE: dict[str, tuple[Rule, ...]] = {
    "Job": (
        _something_to_run,
        _image_or_code,
        _paths_of_the_program,
        _movable_volumes,
        _one_source_of_a_variable,
        _criu_needs_an_image,
        _real_moment,
        _memory_in_a_unit,
        _not_its_own_dependency,
    ),
    "Checkpoint": (),
    "Store": (),
    "Target": (_one_kind_of_target, _tls_for_tcp),
    "Pool": (),
}
"""Kind → its rules, in the order of the fields they read."""
