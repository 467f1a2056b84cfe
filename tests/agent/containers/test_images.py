"""The image of an attempt's container: pulled with what the host knows of its registry, and no other than was prepared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from agent.containers import images, seam
from reconciler import errors
from reconciler.core import container, model, observed, spec
from tests.agent.containers import rig as rigs
from tests.agent.containers.rig import REF, WHAT, Rig

Kind = observed.ExitKind


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_an_image_that_is_missing_is_pulled(rig: Rig) -> None:
    rig.docker.offered["ghcr.io/a/b:1"] = seam.Image(id="sha256:" + "c" * 64)
    (rig.folder / "agent/registries.json").write_text('{"auths": {"ghcr.io": {"auth": "YWRhOnNlY3JldA=="}}}')
    (rig.folder / "agent/registries.json").chmod(0o600)
    one = rig.running(dataclasses.replace(WHAT, workload=model.Workload(image="ghcr.io/a/b:1")))
    assert one.body["Image"] == "sha256:" + "c" * 64
    assert rig.docker.pulled == [{"username": "ada", "password": "secret"}]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (
            "",
            'registry ghcr.io wants a user and a password: image ghcr.io/a/b:1 cannot be pulled, or is not there. Add {"auths"',
        ),
        ("YWRhOnNlY3JldA==", "registry ghcr.io does not accept the user and password that this host has for it: image ghcr.io"),
    ],
    ids=["none", "wrong"],
)
def test_a_registry_that_says_no_is_named_with_what_mends_it(rig: Rig, known: str, expected: str) -> None:
    path = rig.folder / "agent/registries.json"
    path.write_text(json.dumps({"auths": {"ghcr.io": {"auth": known}} if known else {}}))
    path.chmod(0o600)
    rig.docker.closed.add("ghcr.io")
    rig.assign(dataclasses.replace(WHAT, workload=model.Workload(image="ghcr.io/a/b:1")))
    rig.look(6)
    found = rig.item().exit
    assert found is not None
    assert found.fatal
    assert expected in found.detail
    assert str(path) in found.detail
    assert not any(secret in found.detail for secret in ("ada", "secret", "YWRh"))


def test_a_registry_that_does_not_answer_is_waited_for(rig: Rig) -> None:
    rig.docker.away.add("ghcr.io")
    rig.assign(dataclasses.replace(WHAT, workload=model.Workload(image="ghcr.io/a/b:1")))
    rig.look(6)
    item = rig.item()
    assert (item.state, item.exit) == (observed.ItemState.PREPARING, None)
    assert "image ghcr.io/a/b:1 cannot be pulled: connection refused" in item.condition
    rig.docker.away.clear()
    rig.docker.offered["ghcr.io/a/b:1"] = rigs.IMAGE
    rig.look(100)
    assert rig.item().state is observed.ItemState.RUNNING


def of_a_service(rig: Rig, what: spec.AttemptSpec) -> dict[str, object]:
    """What a container of an attempt's service is made from, once its host is ready for it."""
    rig.assign(what)
    rig.look(6)
    service = {**container.labels(what), "com.docker.swarm.service.name": container.name(what.ref)}
    return {"Image": what.workload.image, "Labels": service, "Env": [f"{container.MARKER}={what.ref}"]}


def test_a_container_of_another_image_than_was_prepared_is_not_granted(rig: Rig) -> None:
    """Its engine has asked the registry what the name means by now."""
    body = of_a_service(rig, dataclasses.replace(WHAT, created_by=spec.Creator.ENGINE))
    other = rig.docker.images["train:1"] = seam.Image(id="sha256:" + "b" * 64)
    rig.docker.offered[rigs.IMAGE.digests[0]] = rigs.IMAGE
    wrong = rig.docker.create("task", body)
    with pytest.raises(errors.Refused, match=f"made of image {other.id[:19]}, and {rigs.IMAGE.digests[0]} was prepared"):
        rig.docker.start(wrong)
    rig.docker.pull(rigs.IMAGE.digests[0], None)
    rig.docker.start(rig.docker.create("again", {**body, "Image": rig.item().image}))
    rig.look(4)
    assert rig.item().state is observed.ItemState.RUNNING


@pytest.mark.parametrize(("digests", "said"), [(rigs.IMAGE.digests, rigs.IMAGE.digests[0]), ((), rigs.IMAGE.id)])
def test_a_host_that_is_ready_says_which_image_it_has_prepared(rig: Rig, digests: tuple[str, ...], said: str) -> None:
    rig.docker.images["train:1"] = dataclasses.replace(rigs.IMAGE, digests=digests)
    body = of_a_service(rig, dataclasses.replace(WHAT, created_by=spec.Creator.ENGINE))
    assert (rig.item().ready, rig.item().image) == (True, said)
    rig.docker.start(rig.docker.create("task", {**body, "Image": said}))
    rig.look(4)
    assert (rig.item().state, rig.item().image) == (observed.ItemState.RUNNING, "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", "train"),
        ("train:1", "train"),
        ("train:1@sha256:abc", "train"),
        ("docker.io/library/train:1", "train"),
        ("docker.io/lab/train", "lab/train"),
        ("registry.example:5000/lab/train:1", "registry.example:5000/lab/train"),
        ("registry.example:5000/train", "registry.example:5000/train"),
    ],
)
def test_an_image_s_name_without_its_version(name: str, expected: str) -> None:
    assert images.repository(name) == expected


def test_it_continues_on_the_image_it_was_taken_on(rig: Rig) -> None:
    other = seam.Image(id="sha256:" + "b" * 64, digests=("train@sha256:" + "e" * 64,))
    second = rigs.restored(rig, other)
    rig.docker.offered[rigs.IMAGE.digests[0]] = rigs.IMAGE
    one = rig.running(second)
    assert one.body["Image"] == rigs.IMAGE.id


def test_and_not_on_another_one(rig: Rig) -> None:
    second = rigs.restored(rig, seam.Image(id="sha256:" + "b" * 64))
    rig.assign(second)
    rig.look(6)
    found = rig.item(second.ref).exit
    assert found is not None
    assert found.kind is Kind.NOT_STARTED
    assert "train:1 is another one here" in found.detail


def test_a_job_that_names_a_version_exactly_has_no_other(rig: Rig) -> None:
    second = rigs.restored(rig, seam.Image(id="sha256:" + "b" * 64, digests=("train@sha256:" + "e" * 64,)))
    exactly = "train@sha256:" + "e" * 64
    second = dataclasses.replace(second, workload=dataclasses.replace(second.workload, image=exactly))
    rig.docker.offered[rigs.IMAGE.digests[0]] = rigs.IMAGE
    rig.assign(second)
    rig.look(6)
    found = rig.item(second.ref).exit
    assert found is not None
    assert (found.kind, found.fatal) == (Kind.NOT_STARTED, True)
    assert f"taken on image {rigs.IMAGE.digests[0]}, and the Job names {exactly}, which is another one" in found.detail


@pytest.mark.parametrize(
    ("was", "run"),
    [
        ("other@sha256:" + "d" * 64, REF.run),
        ("registry.example/train@sha256:" + "d" * 64, REF.run),
        ("train-more@sha256:" + "d" * 64, REF.run),
        ("other@sha256:" + "d" * 64, "2" * 32),
        ("sha256:" + "a" * 64, "2" * 32),
    ],
)
def test_a_checkpoint_does_not_say_which_image_it_is(rig: Rig, was: str, run: str) -> None:
    """Its name stands in the manifest; a checkpoint says at most which version of that."""
    second = rigs.restored(rig, seam.Image(id="sha256:" + "b" * 64, digests=("train@sha256:" + "e" * 64,)))
    kept = rig.store.images[second.restore]
    kept.meta = dataclasses.replace(kept.meta, image=was, run=run)
    rig.docker.images[was] = rig.docker.offered[was] = rigs.IMAGE
    rig.assign(second)
    rig.look(6)
    found = rig.item(second.ref).exit
    assert found is not None
    assert (found.kind, found.fatal) == (Kind.NOT_STARTED, True)
    assert f"taken on image {was}, and the Job names train:1, which is another one. Name the former" in found.detail
    assert rig.docker.pulled == []
