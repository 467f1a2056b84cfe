"""What stands when something is wrong: freezing, refusing, and the cost of a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from reconciler import load
from reconciler.contracts.source import Tree
from reconciler.core import model
from reconciler.load.cache import Cache
from reconciler.source.fake import FakeTree
from tests.load import fixtures

TRAIN = model.ObjectRef(kind="Job", tenant="default", name="train")
OTHER = model.ObjectRef(kind="Job", tenant="default", name="other")
BROKEN = "apiVersion: perdure.dev/v1alpha1\nkind: Job\nmetadata: {name: train\nspec: [\n"


def good(files: Mapping[str, str]) -> model.Desired:
    """A revision without any problem."""
    desired = load.revision(fixtures.with_infrastructure(files))
    assert desired.problems == ()
    assert (desired.frozen, desired.unread, desired.refused) == ({}, (), "")
    return desired


def after(previous: model.Desired | None, files: Mapping[str, str]) -> model.Desired:
    """A later revision."""
    return load.revision(fixtures.with_infrastructure(files, "r2"), previous=previous)


def test_the_other_kinds() -> None:
    files = {
        "b.yaml": "apiVersion: perdure.dev/v1alpha1\nkind: Checkpoint\nmetadata: {name: c}\n"
        "spec: {job: train, reason: r, stop: true, keep: false}\n",
        "c.yaml": fixtures.job(),
    }
    desired = good(files)
    ref = model.ObjectRef(kind="Checkpoint", name="c")
    origin = model.Origin(file="b.yaml")
    assert desired.checkpoints == {
        ref: model.CheckpointRequest(name="c", job="train", reason="r", stop=True, keep=False, origin=origin)
    }
    assert desired.stores == {
        "main": model.StoreSpec(name="main", root="/srv/checkpoints", origin=model.Origin(file="infra.yaml", line=6))
    }
    assert desired.targets == {"machines": model.TargetSpec(name="machines", origin=model.Origin(file="infra.yaml", line=1))}
    assert desired.pools == {"spot": model.PoolSpec(name="spot", origin=model.Origin(file="infra.yaml", line=11))}


def test_targets_know_the_labels_of_pools() -> None:
    spec = "{provider: static, labels: {zone: ZONE}}"
    pool = f"apiVersion: perdure.dev/v1alpha1\nkind: Pool\nmetadata: {{name: cheap}}\nspec: {spec}\n"
    first = good({"p.yaml": pool.replace("ZONE", "a")})
    assert first.targets["machines"].by_pool == {"cheap": {"zone": "a"}}
    second = after(first, {"p.yaml": pool.replace("ZONE", "[b]")})
    assert second.targets["machines"].by_pool == {"cheap": {"zone": "a"}}, "an invalid Pool stands as it was"


def test_an_invalid_document_freezes_its_own_object_only() -> None:
    first = good({"a.yaml": fixtures.job(), "b.yaml": fixtures.job("other")})
    changed = fixtures.job("other", extra="priority: 5")
    second = after(first, {"a.yaml": fixtures.job(extra="priority: high"), "b.yaml": changed})
    assert second.jobs[TRAIN] is first.jobs[TRAIN]
    assert second.jobs[OTHER].priority == 5
    assert list(second.frozen) == [TRAIN]
    assert "spec.priority" in second.frozen[TRAIN]
    assert (second.unread, second.refused, second.revision) == ((), "", "r2")
    third = after(second, {"a.yaml": fixtures.job(extra="priority: 2"), "b.yaml": changed})
    assert third.jobs[TRAIN].priority == 2
    assert third.frozen == {}


def test_an_invalid_object_without_a_past_is_named_and_not_run() -> None:
    desired = after(None, {"a.yaml": fixtures.job(extra="priority: high")})
    assert desired.jobs == {}
    assert list(desired.frozen) == [TRAIN]


def test_a_file_that_cannot_be_parsed_freezes_all_it_last_declared() -> None:
    first = good({"a.yaml": fixtures.job() + "---\n" + fixtures.job("other"), "b.yaml": fixtures.job("third")})
    second = after(
        first, {"a.yaml": fixtures.job("other", extra="priority: 5") + "---\n" + BROKEN, "b.yaml": fixtures.job("third")}
    )
    assert second.jobs == first.jobs
    assert set(second.frozen) == {TRAIN, OTHER}
    assert second.unread == ("a.yaml",)
    assert not second.refused


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"a: \xe9", b"x" * (2 << 20), b"apiVersion: perdure.dev/v1alpha1\nkind: [\n"]
)
def test_whatever_makes_a_file_unreadable_nothing_is_lost(content: bytes) -> None:
    first = good({"a.yaml": fixtures.job()})
    second = load.revision(fixtures.with_infrastructure({"a.yaml": content}, "r2"), previous=first)
    assert second.jobs == first.jobs
    assert second.unread == ("a.yaml",)
    again = load.revision(fixtures.with_infrastructure({"a.yaml": content}, "r3"))
    assert (again.jobs, again.unread) == ({}, ("a.yaml",))


def test_a_document_that_does_not_say_what_it_declares_freezes_what_is_missing_from_its_file() -> None:
    first = good({"a.yaml": fixtures.job() + "---\n" + fixtures.job("other")})
    nameless = fixtures.job().replace("name: train", "nam: train")
    second = after(first, {"a.yaml": nameless + "---\n" + fixtures.job("other", extra="priority: 5")})
    assert second.jobs[TRAIN] is first.jobs[TRAIN]
    assert second.jobs[OTHER].priority == 5
    assert list(second.frozen) == [TRAIN]
    assert second.unread == ("a.yaml",)


def test_a_removed_manifest_is_removed() -> None:
    first = good({"a.yaml": fixtures.job(), "b.yaml": fixtures.job("other")})
    second = after(first, {"b.yaml": fixtures.job("other")})
    assert list(second.jobs) == [OTHER]
    assert (second.frozen, second.unread) == ({}, ())


def test_a_declaration_in_two_files_freezes_the_object_and_names_both() -> None:
    first = good({"a.yaml": fixtures.job()})
    second = after(first, {"a.yaml": fixtures.job(extra="priority: 5"), "b.yaml": fixtures.job(extra="priority: 6")})
    assert second.jobs[TRAIN] is first.jobs[TRAIN]
    [problem] = second.problems
    assert str(problem).startswith("b.yaml:1:1: Job default/train is declared a second time, first at a.yaml:1:1")


@pytest.mark.parametrize(
    "infrastructure",
    [
        fixtures.TARGET.replace("hosts: {}", "hosts: []") + "---\n" + fixtures.STORE,
        fixtures.TARGET + "---\n" + fixtures.STORE.replace("/srv/checkpoints", "relative"),
        fixtures.TARGET + "---\n" + fixtures.STORE + "---\n" + fixtures.STORE,
    ],
)
def test_an_invalid_target_or_store_refuses_the_revision(infrastructure: str) -> None:
    first = good({"a.yaml": fixtures.job()})
    files = {**fixtures.CODE, "infra.yaml": infrastructure, "b.yaml": fixtures.job("other")}
    second = load.revision(fixtures.tree(files, "r2"), previous=first)
    assert "infra.yaml" in second.refused
    assert second.jobs == first.jobs
    assert (second.stores, second.targets) == (first.stores, first.targets)
    assert second.revision == "r2"
    unknown = load.revision(fixtures.tree(files, "r2"))
    assert unknown.refused
    assert unknown.jobs == {}
    assert unknown.unread, "nothing may be pruned because of a revision that is refused"


def test_an_unreadable_file_of_infrastructure_leaves_it_as_it_was() -> None:
    first = good({"a.yaml": fixtures.job()})
    second = load.revision(
        fixtures.tree({**fixtures.CODE, "infra.yaml": "apiVersion: [", "a.yaml": fixtures.job(extra="priority: 3")}, "r2"),
        previous=first,
    )
    assert second.refused == ""
    assert (second.targets, second.stores, second.pools) == (first.targets, first.stores, first.pools)
    assert second.jobs[TRAIN].priority == 3
    assert [problem.file for problem in second.problems] == ["infra.yaml"]


def test_a_reference_to_a_frozen_object_is_not_dangling() -> None:
    first = good({"a.yaml": fixtures.job()})
    files = {"a.yaml": BROKEN, "b.yaml": fixtures.job("other", extra="dependsOn: [train]")}
    second = after(first, files)
    assert [problem.file for problem in second.problems] == ["a.yaml"]
    assert second.jobs[OTHER].depends_on == ("train",)


def test_what_a_frozen_job_uses_stays_though_it_was_removed() -> None:
    first = good({"a.yaml": fixtures.job(extra="pool: spot")})
    files = {**fixtures.CODE, "infra.yaml": fixtures.TARGET, "a.yaml": fixtures.job(extra="pool: spot\npriority: high")}
    second = load.revision(fixtures.tree(files, "r2"), previous=first)
    assert second.jobs[TRAIN] is first.jobs[TRAIN]
    assert list(second.pools) == ["spot"]
    assert list(second.stores) == ["main"]


def test_a_circle_freezes_its_members() -> None:
    first = good({"a.yaml": fixtures.job(), "b.yaml": fixtures.job("other")})
    files = {"a.yaml": fixtures.job(extra="dependsOn: [other]"), "b.yaml": fixtures.job("other", extra="dependsOn: [train]")}
    second = after(first, files)
    assert second.jobs == first.jobs
    assert set(second.frozen) == {TRAIN, OTHER}


def test_a_circle_through_what_a_circle_freezes_freezes_its_members_too() -> None:
    """They waited for each other for ever, and nothing said so."""
    first = good(
        {"a.yaml": fixtures.job(extra="dependsOn: [last]"), "b.yaml": fixtures.job("other"), "c.yaml": fixtures.job("last")}
    )
    files = {
        "a.yaml": fixtures.job(extra="dependsOn: [other]"),
        "b.yaml": fixtures.job("other", extra="dependsOn: [train]"),
        "c.yaml": fixtures.job("last", extra="dependsOn: [train]"),
    }
    second = after(first, files)
    assert second.jobs == first.jobs
    assert [problem.message for problem in second.problems if problem.name == "last"] == [
        "spec.dependsOn goes in a circle: last → train → last"
    ]


def test_documents_of_other_programs_are_passed_over() -> None:
    foreign = {
        "compose.yaml": "services: {web: {image: !custom x, ports: [22:22], on: yes}}\nx: &a {b: 1}\ny: {<<: *a}\n",
        ".github/workflows/ci.yml": "on: push\njobs: {}\n",
        "k8s.yaml": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {}\n---\napiVersion: v1\nkind: List\n",
        "list.yaml": "- a\n- b\n",
        "text.yaml": "just text\n",
        "empty.yaml": "",
        "broken_other.yaml": "apiVersion: v1\nkind: [\n",
    }
    assert len(good({"a.yaml": fixtures.job(), **foreign}).jobs) == 1


class CountingTree(FakeTree):
    """Remembers which blobs were read."""

    def __init__(self, files: Mapping[str, str]) -> None:
        super().__init__("r", {path: text.encode() for path, text in files.items()})
        self.seen: list[str] = []

    def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        wanted = list(oids)
        self.seen.extend(wanted)
        return super().read(wanted)


def test_only_what_changed_is_read_and_what_did_not_is_the_same_object() -> None:
    cache = Cache()
    files = {**fixtures.INFRASTRUCTURE, **{f"jobs/{n}.yaml": fixtures.job(f"j{n}") for n in range(20)}}
    code = fixtures.job("coded", workload="code: {path: code, entrypoint: train.py}")
    first_tree = CountingTree({**files, "c.yaml": code})
    first = load.revision(first_tree, cache=cache)
    assert len(first_tree.seen) == 22
    second_tree = CountingTree({**files, "c.yaml": code, "jobs/3.yaml": fixtures.job("j3", extra="priority: 1")})
    second = load.revision(second_tree, cache=cache, previous=first)
    assert len(second_tree.seen) == 1
    different = [ref.name for ref, job in second.jobs.items() if job is not first.jobs[ref]]
    assert different == ["j3"]
    third_tree = CountingTree({**files, "c.yaml": code, "code/train.py": "print(2)\n"})
    third = load.revision(third_tree, cache=cache, previous=second)
    changed = {ref.name for ref, job in third.jobs.items() if job is not second.jobs[ref]}
    assert changed == {"j3", "coded"}


def test_the_trailer_is_passed_on() -> None:
    tree: Tree = fixtures.tree({})
    assert load.revision(tree, allow_empty=True).allow_empty
    assert not load.revision(tree).allow_empty
