"""`perdure render`: what other systems need to run a container with transparent checkpoints. Nothing is sent anywhere."""

from __future__ import annotations

import base64
import json
import re
import shlex
from typing import Any

import click

import reconciler
from reconciler import errors
from reconciler.cli import options, output
from reconciler.core import quantities

PACKAGES = {"docker": ("docker.io",), "podman": ("podman",), "containerd": ("containerd",)}
"""Debian packages of an engine."""

ALWAYS = ("ca-certificates", "criu", "iptables", "python3", "python3-venv", "runc", "tar")

ECS_AGENT = (
    "https://s3.us-east-1.amazonaws.com/amazon-ecs-agent-us-east-1/amazon-ecs-init-latest.$(dpkg --print-architecture).deb"
)
"""Amazon's own package for Debian and Ubuntu (Amazon ECS developer guide, "Installing the Amazon ECS container agent")."""

ECS_SETTINGS = ("ECS_ENABLE_SPOT_INSTANCE_DRAINING=true", "ECS_CONTAINER_STOP_TIMEOUT=90s")

RETRIES = (
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onExitCode": "137", "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
)
"""What AWS Batch does about an end: the machine was taken away; the job was ended by its own checkpoint; anything else."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
PLAIN = re.compile(r"/[A-Za-z0-9._/-]*[A-Za-z0-9._-]")


@click.group(
    epilog=options.examples(
        "perdure render userdata > userdata.sh",
        "perdure render batch-job train registry.example.org/train:7 --root /mnt/shared -- python train.py > job.json",
    )
)
def render() -> None:
    """Print what clouds need to run containers with transparent checkpoints."""


@render.command(
    epilog=options.examples(
        "perdure render userdata > userdata.sh",
        "perdure render userdata --root /mnt/shared --shared fs-0123.efs.eu-west-1.amazonaws.com:/ --ecs --mime",
    )
)
@click.option("--engine", type=click.Choice(sorted(PACKAGES)), default="docker", help="Container engine.  [default: docker]")
@click.option(
    "--package", metavar="WHAT", default="", help="What pip installs: a version or an address.  [default: this version]"
)
@click.option("--root", metavar="DIR", default="", help="Folder below which the variables of ARCH and Tardis may name paths.")
@click.option("--shared", metavar="HOST:PATH", default="", help="NFS export (Amazon EFS is one) that is mounted at --root.")
@click.option("--ecs", is_flag=True, help="Install Amazon's ECS agent, and checkpoint when EC2 takes the machine back.")
@click.option("--ecs-cluster", "cluster", metavar="NAME", default="", help="Join this ECS cluster; includes --ecs.")
@click.option("--mime", is_flag=True, help="As MIME multi-part, which launch templates of AWS Batch must be.")
def userdata(*, engine: str, package: str, root: str, shared: str, ecs: bool, cluster: str, mime: bool) -> None:
    """Print a script for cloud-init that installs an engine, criu and the interposer on Debian or Ubuntu."""
    if root:
        _path(root, "--root")
    if shared and not root:
        raise errors.UsageError("an export needs a place to be mounted at", where="--shared", remedy="Add --root DIR.")
    if shared and not re.fullmatch(r"[A-Za-z0-9.:-]+:/[A-Za-z0-9._/-]*", shared):
        raise errors.UsageError(f"{shared!r} is not an NFS export", where="--shared", remedy="Write HOST:/PATH.")
    if cluster and not NAME.fullmatch(cluster):
        raise errors.UsageError(
            f"{cluster!r} is not the name of a cluster", where="--ecs-cluster", remedy="Letters, digits, - and _."
        )
    ecs = ecs or bool(cluster)
    if ecs and engine != "docker":
        raise errors.UsageError("ECS runs containers with Docker", where="--engine", remedy="Leave --engine away.")
    more = (*(("nfs-common",) if shared else ()), *(("containerd", "curl") if ecs else ()))
    script = _script(
        {
            "version": reconciler.__version__,
            "engine": engine,
            "packages": sorted({*ALWAYS, *PACKAGES[engine], *more}),
            "package": package or f"perdure=={reconciler.__version__}",
            "root": root,
            "shared": shared,
            "ecs": ecs,
            "settings": [*([f"ECS_CLUSTER={cluster}"] if cluster else []), *ECS_SETTINGS],
            "ecs_agent": ECS_AGENT,
        }
    )
    output.line((_multipart(script) if mime else script).rstrip("\n"))


def _script(values: dict[str, Any]) -> str:
    import importlib.resources

    import jinja2

    from reconciler import data

    folder = importlib.resources.files(data) / "templates" / "userdata"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["quote"] = lambda text: shlex.quote(str(text))
    return environment.get_template("userdata.sh.j2").render(values)


def _multipart(script: str) -> str:
    """Return a script as MIME multi-part, whose parts AWS Batch puts its own beside."""
    boundary = "==PERDURE=="
    body = base64.encodebytes(script.encode()).decode()
    return (
        f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="{boundary}"\n\n--{boundary}\n'
        'Content-Type: text/x-shellscript; charset="utf-8"\nContent-Transfer-Encoding: base64\n'
        f'Content-Disposition: attachment; filename="perdure.sh"\n\n{body}--{boundary}--\n'
    )


def _definition(function: Any) -> Any:
    """Give a command what both definitions are made of."""
    for decorate in (
        click.argument("command", nargs=-1, type=click.UNPROCESSED),
        options.argument("image"),
        options.argument("name"),
        click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable; may be repeated."),
        click.option("--memory", metavar="SIZE", default="2Gi", help="Memory, e.g. 512Mi.  [default: 2Gi]"),
        click.option("--cpu", type=options.Count(1, 192), metavar="N", default=1, help="Processor cores.  [default: 1]"),
        click.option(
            "--work", metavar="DIR", default="", help="Folder in the container that lies on the shared file system too."
        ),
        click.option(
            "--root", metavar="DIR", required=True, help="Folder of the machine where checkpoints are, as in userdata."
        ),
        options.common("json", "yaml"),
    ):
        function = decorate(function)
    return function


@render.command(
    name="batch-job",
    epilog=options.examples(
        "perdure render batch-job train registry.example.org/train:7 --root /mnt/shared -- python train.py > job.json",
        "aws batch register-job-definition --cli-input-json file://job.json",
    ),
)
@_definition
@click.option("--attempts", type=options.Count(1, 10), metavar="N", default=10, help="Most attempts of a job.  [default: 10]")
@click.pass_obj
def batch_job(flags: options.Flags, /, *, name: str, attempts: int, **given: Any) -> None:
    """Print a job definition of AWS Batch: each attempt of a job goes on where the one before it was checkpointed.

    Checkpoints are kept by AWS_BATCH_JOB_ID, which all attempts of a job share.
    """
    document = {
        "jobDefinitionName": _name(name),
        "type": "container",
        "platformCapabilities": ["EC2"],
        "containerProperties": {
            "image": given["image"],
            "command": list(given["command"]),
            "environment": _environment(given, {}),
            "resourceRequirements": [
                {"type": "VCPU", "value": str(given["cpu"])},
                {"type": "MEMORY", "value": str(_mebibytes(given["memory"]))},
            ],
        },
        "retryStrategy": {"attempts": attempts, "evaluateOnExit": list(RETRIES)},
    }
    output.show(flags.output, document, lambda: json.dumps(document, indent=2))


@render.command(
    name="ecs-task",
    epilog=options.examples(
        "perdure render ecs-task train registry.example.org/train:7 --root /mnt/shared -- python train.py > task.json",
        "aws ecs register-task-definition --cli-input-json file://task.json",
    ),
)
@_definition
@click.option("--key", metavar="NAME", default="", help="What the checkpoint is kept by.  [default: the task's NAME]")
@click.pass_obj
def ecs_task(flags: options.Flags, /, *, name: str, key: str, **given: Any) -> None:
    """Print a task definition of ECS: the next task of that key goes on where the one before it was checkpointed.

    ECS gives its tasks no name that outlives them, so the definition sets AWS_BATCH_JOB_ID. Run one task of a key at a time.
    """
    document = {
        "family": _name(name),
        "requiresCompatibilities": ["EC2"],
        "networkMode": "bridge",
        "containerDefinitions": [
            {
                "name": name,
                "image": given["image"],
                "command": list(given["command"]),
                "essential": True,
                "cpu": given["cpu"] * 1024,
                "memory": _mebibytes(given["memory"]),
                "environment": _environment(given, {"AWS_BATCH_JOB_ID": _name(key or name)}),
            }
        ],
    }
    output.show(flags.output, document, lambda: json.dumps(document, indent=2))


def _environment(given: dict[str, Any], more: dict[str, str]) -> list[dict[str, str]]:
    """Return the variables: the job's own, and those by which the interposer knows what to do."""
    found = {}
    for text in given["variables"]:
        variable, equals, value = text.partition("=")
        if not variable or not equals:
            raise errors.UsageError(f"{text!r} is no variable", where="--env", remedy="Write NAME=VALUE.")
        found[variable] = value
    root = _path(given["root"], "--root")
    found |= {"ARCH_ENABLE": "1", **more}
    if given["work"]:
        found |= {"ARCH_SHAREDFS_HOST_PATH": root, "ARCH_WORKDIR_CONTAINER_PATH": _path(given["work"], "--work")}
    else:
        found["ARCH_CHECKPOINT_HOST_PATH"] = root
    return [{"name": variable, "value": value} for variable, value in found.items()]


def _mebibytes(text: str) -> int:
    if not quantities.BYTES.fullmatch(text):
        raise errors.UsageError(f"{text!r} is not a size", where="--memory", remedy="Write 512Mi or 2Gi.")
    found = int(quantities.size(text)) >> 20
    if found < 4:
        raise errors.UsageError(f"{text} is less than containers may have", where="--memory", remedy="Write 4Mi or more.")
    return found


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise errors.UsageError(f"{text!r} is no name there", where="NAME", remedy="At most 128 letters, digits, - and _.")
    return text


def _path(text: str, where: str) -> str:
    if not PLAIN.fullmatch(text) or any(part in ("", ".", "..") for part in text.split("/")[1:]):
        raise errors.UsageError(f"{text!r} is no folder there", where=where, remedy="Write an absolute path, e.g. /mnt/shared.")
    return text
