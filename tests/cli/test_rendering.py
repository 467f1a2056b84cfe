"""What `perdure render` prints: accepted by Amazon's own models, and by the shell."""

from __future__ import annotations

import email
import json
import re
import subprocess
from typing import Any

import botocore.loaders  # type: ignore[import-untyped]
import botocore.model  # type: ignore[import-untyped]
import botocore.validate  # type: ignore[import-untyped]
import pytest
import yaml

from reconciler import __version__
from reconciler.cli import main

BATCH = ("batch-job", "train", "registry.example.org/train:7", "--root", "/mnt/shared")
ECS = ("ecs-task", "train", "registry.example.org/train:7", "--root", "/mnt/shared")


def render(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = main.run(["render", *words])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    return printed.out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = main.run(["render", *words])
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    return printed.err


def problems(service: str, operation: str, document: Any) -> str:
    """What the provider's published model says against a request."""
    loaded = botocore.loaders.Loader().load_service_model(service, "service-2")
    shape = botocore.model.ServiceModel(loaded).operation_model(operation).input_shape
    report: str = botocore.validate.ParamValidator().validate(document, shape).generate_report()
    unknown = _unknown(document, shape, "")
    return "\n".join([report, *unknown]).strip()


def _unknown(value: Any, shape: Any, path: str) -> list[str]:
    """Members that the model does not have: its own validator lets them pass."""
    if shape.type_name == "structure":
        return [
            found
            for name, inner in value.items()
            for found in (
                _unknown(inner, shape.members[name], f"{path}.{name}") if name in shape.members else [f"{path}.{name}"]
            )
        ]
    if shape.type_name == "list":
        return [found for one in value for found in _unknown(one, shape.member, f"{path}[]")]
    enum = getattr(shape, "enum", None)
    return [f"{path}: {value!r} is none of {enum}"] if enum and value not in enum else []


@pytest.mark.parametrize(
    "more",
    [(), ("--cpu", "4", "--memory", "16Gi", "--env", "LR=0.1", "--work", "/scratch", "--", "python", "train.py", "--lr", "3")],
)
@pytest.mark.parametrize(
    ("words", "service", "operation"), [(BATCH, "batch", "RegisterJobDefinition"), (ECS, "ecs", "RegisterTaskDefinition")]
)
def test_definitions_are_what_the_provider_publishes(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], service: str, operation: str, more: tuple[str, ...]
) -> None:
    document = json.loads(render(capsys, *words, *more))
    assert problems(service, operation, document) == ""
    assert yaml.safe_load(render(capsys, *words, "-o", "yaml", *more)) == document


def test_the_model_would_find_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(render(capsys, *BATCH))
    assert "jobDefinitionName" in problems("batch", "RegisterJobDefinition", {**document, "jobDefinitionName": 7})
    assert ".privileged" in problems("batch", "RegisterJobDefinition", {**document, "privileged": True})


def variables(document: Any) -> dict[str, str]:
    inner = document.get("containerProperties") or document["containerDefinitions"][0]
    return {each["name"]: each["value"] for each in inner["environment"]}


def test_a_batch_job_is_kept_by_the_id_that_batch_gives_it(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(render(capsys, *BATCH, "--attempts", "7"))
    assert variables(document) == {"ARCH_ENABLE": "1", "ARCH_CHECKPOINT_HOST_PATH": "/mnt/shared"}
    assert document["retryStrategy"]["attempts"] == 7
    assert {"onExitCode": "137", "action": "RETRY"} in document["retryStrategy"]["evaluateOnExit"]


def test_an_ecs_task_names_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert variables(json.loads(render(capsys, *ECS)))["AWS_BATCH_JOB_ID"] == "train"
    assert variables(json.loads(render(capsys, *ECS, "--key", "train-7")))["AWS_BATCH_JOB_ID"] == "train-7"


def test_a_work_folder_means_shared_mode(capsys: pytest.CaptureFixture[str]) -> None:
    found = variables(json.loads(render(capsys, *BATCH, "--work", "/scratch")))
    assert (found["ARCH_SHAREDFS_HOST_PATH"], found["ARCH_WORKDIR_CONTAINER_PATH"]) == ("/mnt/shared", "/scratch")
    assert "ARCH_CHECKPOINT_HOST_PATH" not in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*BATCH, "--env", "LR"), "'LR' is no variable"),
        ((*BATCH, "--memory", "much"), "'much' is not a size"),
        ((*BATCH, "--memory", "1Mi"), "less than containers may have"),
        (("batch-job", "a b", "image", "--root", "/x"), "'a b' is no name"),
        (("batch-job", "a", "image", "--root", "shared"), "'shared' is no folder"),
        (("batch-job", "a", "image", "--root", "/mnt/../etc"), "'/mnt/../etc' is no folder"),
        ((*ECS, "--key", "../x"), "'../x' is no name"),
        (("userdata", "--root", "/mnt/$(reboot)"), "is no folder"),
        (("userdata", "--root", "/mnt", "--shared", "x; reboot"), "is not an NFS export"),
        (("userdata", "--shared", "nfs:/x"), "an export needs a place"),
        (("userdata", "--ecs-cluster", "$(x)"), "is not the name of a cluster"),
        (("userdata", "--engine", "podman", "--ecs"), "ECS runs containers with Docker"),
    ],
)
def test_what_cannot_be_rendered_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert said in refused(capsys, *words)


USERDATA = [
    (),
    ("--engine", "podman"),
    ("--engine", "containerd", "--package", "git+https://example.org/perdure.git; reboot"),
    ("--root", "/mnt/shared", "--shared", "fs-0123.efs.eu-west-1.amazonaws.com:/"),
    ("--root", "/mnt/shared", "--ecs-cluster", "lab"),
]


@pytest.mark.parametrize("words", USERDATA)
def test_user_data_is_a_script(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    script = render(capsys, "userdata", *words)
    assert script.startswith("#!/bin/sh\n")
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    engine = words[words.index("--engine") + 1] if "--engine" in words else "docker"
    assert re.search(
        rf"^/opt/perdure/bin/perdure-agent install --engine {engine}( --arch-root /mnt/shared)?$", script, re.MULTILINE
    )
    if "--package" not in words:
        assert f"install --no-input --disable-pip-version-check perdure=={__version__}\n" in script
    else:
        assert "'git+https://example.org/perdure.git; reboot'\n" in script


def test_user_data_for_batch_is_multipart(capsys: pytest.CaptureFixture[str]) -> None:
    plain = render(capsys, "userdata", "--root", "/mnt/shared", "--ecs")
    message = email.message_from_string(render(capsys, "userdata", "--root", "/mnt/shared", "--ecs", "--mime"))
    assert message.is_multipart()
    _, part = message.walk()
    assert part.get_content_type() == "text/x-shellscript"
    assert part.get_payload(decode=True) == plain.encode()
    assert "ECS_CLUSTER" not in plain, "AWS Batch names it itself"
