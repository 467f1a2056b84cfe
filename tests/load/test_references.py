"""The default Store, and when a Job's engine needs one."""

from __future__ import annotations

import pytest

from reconciler import load
from reconciler.core import model
from reconciler.core.model import EngineName
from tests.load import fixtures

SECOND = fixtures.STORE.replace("main", "second")
ENCRYPTED = fixtures.STORE.replace("{path:", "{encryption: {key: k}, path:")
SECRETS = "command: [run], secrets: [TOKEN]"


def one(stores: str, extra: str = "", workload: str = "command: [run]") -> tuple[model.Job | None, str]:
    """The Job beside these Stores, or the first problem."""
    infrastructure = "---\n".join(part for part in (fixtures.TARGET, stores) if part)
    desired = load.revision(
        fixtures.tree({"infra.yaml": infrastructure, "a.yaml": fixtures.job(extra=extra, workload=workload)})
    )
    return next(iter(desired.jobs.values()), None), str(desired.problems[0]) if desired.problems else ""


@pytest.mark.parametrize(
    ("stores", "extra", "engine", "store"),
    [
        ("", "", EngineName.NONE, ""),
        ("", "checkpoint: {engine: none}", EngineName.NONE, ""),
        (fixtures.STORE, "", EngineName.APPLICATION, "main"),
        (fixtures.STORE, "checkpoint: {engine: none}", EngineName.NONE, "main"),
        (fixtures.STORE, "checkpoint: {interval: 5m}", EngineName.APPLICATION, "main"),
        (fixtures.STORE + "---\n" + SECOND, "checkpoint: {store: second}", EngineName.APPLICATION, "second"),
        (fixtures.STORE + "---\n" + SECOND, "checkpoint: {engine: none}", EngineName.NONE, ""),
        (fixtures.STORE + "---\n" + SECOND, "checkpoint: {engine: none, store: main}", EngineName.NONE, "main"),
    ],
)
def test_the_store_of_a_job(stores: str, extra: str, engine: EngineName, store: str) -> None:
    job, problem = one(stores, extra)
    assert problem == ""
    assert job is not None
    assert (job.checkpoint.engine, job.checkpoint.store) == (engine, store)


@pytest.mark.parametrize(
    ("stores", "extra", "engine"),
    [
        (fixtures.STORE, "", EngineName.CRIU),
        (fixtures.STORE, "checkpoint: {interval: 5m}", EngineName.CRIU),
        (fixtures.STORE, "checkpoint: {engine: application}", EngineName.APPLICATION),
        (fixtures.STORE, "checkpoint: {engine: none}", EngineName.NONE),
        ("", "", EngineName.NONE),
    ],
)
def test_the_engine_of_an_image(stores: str, extra: str, engine: EngineName) -> None:
    job, problem = one(stores, extra, 'image: "train:1"')
    assert problem == ""
    assert job is not None
    assert job.checkpoint.engine is engine


@pytest.mark.parametrize(
    ("stores", "extra", "expected"),
    [
        ("", "checkpoint: {engine: application}", "application needs a Store, and none is declared"),
        ("", "checkpoint: {store: main}", 'there is no Store "main"'),
        (fixtures.STORE + "---\n" + SECOND, "", "spec.checkpoint.store is missing, and several Stores are declared"),
        (fixtures.STORE + "---\n" + SECOND, "checkpoint: {interval: 1m}", "spec.checkpoint.store is missing"),
    ],
)
def test_a_job_whose_store_is_not_clear(stores: str, extra: str, expected: str) -> None:
    job, problem = one(stores, extra)
    assert job is None
    assert expected in problem


@pytest.mark.parametrize(
    ("stores", "extra", "accepted"),
    [
        (fixtures.STORE, "", False),
        (ENCRYPTED, "", True),
        (fixtures.STORE, "checkpoint: {engine: none}", True),
        (ENCRYPTED + "---\n" + SECOND, "checkpoint: {store: second}", False),
        (ENCRYPTED + "---\n" + SECOND, "checkpoint: {store: main}", True),
    ],
)
def test_a_job_with_secrets_needs_an_encrypted_store(stores: str, extra: str, accepted: bool) -> None:
    job, problem = one(stores, extra, SECRETS)
    assert (job is not None) == accepted
    assert accepted or "is not encrypted" in problem


def test_depends_on_stays_within_the_tenant() -> None:
    files = {"a.yaml": fixtures.job("first", extra="tenant: research"), "b.yaml": fixtures.job(extra="dependsOn: [first]")}
    desired = load.revision(fixtures.with_infrastructure(files))
    assert "it belongs to tenant research" in str(desired.problems[0])


def test_long_chains_are_followed() -> None:
    files = {f"{n}.yaml": fixtures.job(f"j{n}", extra=f"dependsOn: [j{n + 1}]" if n < 2999 else "") for n in range(3000)}
    assert load.revision(fixtures.with_infrastructure(files)).problems == ()


def test_equal_manifests_write_the_same_identity_whatever_their_form() -> None:
    block = fixtures.job(workload="command: [run], args: ['1'], env: {B: b, A: a}")
    flow = block.replace(
        "{command: [run], args: ['1'], env: {B: b, A: a}}", '\n    env: {A: a, B: b}\n    args: ["1"]\n    command:\n    - run'
    )
    first = load.revision(fixtures.with_infrastructure({"a.yaml": block}))
    second = load.revision(fixtures.with_infrastructure({"b.yaml": flow}))
    assert [job.written for job in first.jobs.values()] == [job.written for job in second.jobs.values()]
