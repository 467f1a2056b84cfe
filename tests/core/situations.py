"""Hypothesis strategies for scenes: ledgers that can have come about, and whatever a world may say about them."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st

from tests.core import scene

HOSTS = ("alpha", "beta", "gamma")
NOW = 1000.0
Node = dict[str, Any]


def maybe(strategy: st.SearchStrategy[Any], missing: Any = None) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(missing), strategy)


JOB: st.SearchStrategy[Node] = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(["Running", "Running", "Suspended", "Stopped"]),
        "suspend": st.fixed_dictionaries({}, optional={"until": st.sampled_from([500.0, 1000.0, 2000.0])}),
        "args": st.sampled_from([["a"], ["b"]]),
        "cpu": st.sampled_from([1, 4, 9]),
        "node": st.sampled_from(HOSTS),
        "timeout": st.sampled_from([60.0, 90.0]),
        "retries": st.fixed_dictionaries({}, optional={"failure": st.integers(0, 2), "preemption": st.integers(0, 2)}),
        "engine": st.sampled_from(["application", "application", "none"]),
        "onLost": st.sampled_from(["wait", "replace"]),
        "onChange": st.sampled_from(["refuse", "restart"]),
        "restore": st.sampled_from(["none", "latest", "sha256:a@10", "sha256:nowhere"]),
        "priority": st.integers(0, 2),
        "replicas": st.sampled_from([1, 2]),
    },
)

EXIT: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([0, 0, 1]),
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["exited", "signaled", "timeout", "out-of-memory", "not-started", "unknown"])},
        optional={
            "code": st.sampled_from([0, 1]),
            "stopped": st.booleans(),
            "fatal": st.booleans(),
            "damaged": st.sampled_from(["sha256:a@10", "sha256:b@20"]),
        },
    ),
)


@st.composite
def attempts(draw: st.DrawFn, steps: list[int]) -> list[Node]:
    """Attempts of which only the newest may be alive."""
    count = draw(st.integers(0, 3))
    found: list[Node] = []
    for number in range(1, count + 1):
        node: Node = {"host": draw(st.sampled_from(HOSTS)), "intended": 200 * number}
        node |= {"step": draw(maybe(st.integers(0, 50)))}
        if number > 1 and steps:
            node["from"] = draw(maybe(st.sampled_from(steps)))
        if number < count or draw(st.booleans()):
            node["ending"] = draw(st.sampled_from(["failed", "lost", "checkpointed", "stopped"]))
            node["failure"] = draw(st.sampled_from(["ExitStatus", "HostLost", "StartFailed"]))
        elif draw(st.booleans()):
            node["started"] = None
        found.append(node)
    return found


@st.composite
def run(draw: st.DrawFn, name: str) -> Node:
    """One record of the ledger."""
    steps = draw(st.lists(st.sampled_from([10, 20, 30, 40]), unique=True).map(sorted))
    tries = draw(attempts(steps))
    node: Node = {"of": name, "job": draw(JOB), "attempts": tries, "failures": draw(st.integers(0, 2))}
    node["checkpoints"] = [
        {"step": step, "attempt": draw(st.integers(1, len(tries))), "tombstoned": draw(maybe(st.sampled_from([10.0, 990.0])))}
        for step in steps
        if tries
    ]
    if tries and "ending" not in tries[-1]:
        if draw(st.booleans()):
            purpose = draw(st.sampled_from(["suspend", "stop", "update", "move", "demand"]))
            node["pending"] = {"purpose": purpose, "failed": draw(maybe(st.sampled_from([10.0, 995.0, 5000.0])))}
        return node
    phases = ["pending", "suspended", "stopped"] + (["failed"] if tries else [])
    node["phase"] = draw(st.sampled_from(phases))
    if tries and draw(st.integers(0, 4)) == 0:
        tries[-1]["ending"] = node["phase"] = "finished"
    node["notBefore"] = draw(maybe(st.sampled_from([900.0, 1005.0, 500_000.0])))
    return node


@st.composite
def item(draw: st.DrawFn, known: Node, pending: Node | None) -> Node:
    """What a host says of an attempt."""
    node: Node = {"want": draw(st.sampled_from(["run", "run", "stop", "remove"])), "host": known["host"]}
    state = draw(st.sampled_from(["preparing", "running", "running", "ended"]))
    if state == "preparing":
        return node | {"state": state}
    node |= {"step": draw(st.integers(0, 60)), "started": 500.0}
    node["checkpoints"] = draw(st.lists(st.sampled_from([30, 40, 50]), unique=True).map(sorted))
    if pending is not None and draw(st.booleans()):
        purpose = pending["purpose"]
        node["request"] = {"id": f"{purpose}.1.1", "digest": draw(st.sampled_from(["", "sha256:a@50"])), "detail": "no"}
    return node | ({"exit": draw(EXIT)} if state == "ended" else {})


@st.composite
def host(draw: st.DrawFn) -> Node:
    """A host that is heard, silent, leaving, or in an old state."""
    node: Node = {"cpu": draw(st.sampled_from([2, 8])), "generation": draw(st.sampled_from([1, 9]))}
    if draw(st.booleans()):
        since = draw(st.sampled_from([100.0, 980.0, 3000.0]))
        node["silent"] = {"since": since, "tries": draw(st.sampled_from([1, 9]))}
    if draw(st.integers(0, 4)) == 0:
        node["draining"] = True
    return node


@st.composite
def scenes(draw: st.DrawFn) -> scene.Scene:
    """Facts as a reconciler may meet them."""
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True))
    ledger = {name: draw(run(name)) for name in names if draw(st.integers(0, 4))}
    if "a" in ledger and draw(st.booleans()):
        ledger["a-earlier"] = draw(run("a")) | {"job": {"args": ["earlier"]}}
    desired: Node = {"jobs": {name: draw(JOB) for name in names if draw(st.integers(0, 5))}}
    for before, name in itertools.pairwise(names):
        if {before, name} <= desired["jobs"].keys() and draw(st.booleans()):
            desired["jobs"][name]["dependsOn"] = [before]
    desired["allow_empty"] = draw(st.booleans())
    desired["unread"] = draw(st.sampled_from([[], [], ["other.yaml"]]))
    if draw(st.booleans()):
        desired["checkpoints"] = {"demand": {"job": names[0], "stop": draw(st.booleans())}}
    seen: Node = {"now": NOW, "hosts": {name: draw(host()) for name in HOSTS if draw(st.integers(0, 4))}, "items": {}}
    for alias, node in ledger.items():
        for number, known in enumerate(node["attempts"], start=1):
            if known["host"] in seen["hosts"] and draw(st.booleans()):
                seen["items"][f"{alias}/{number}"] = draw(item(known, node.get("pending")))
    seen["targets"] = {scene.TARGET: {"known": draw(st.integers(0, 5)) > 0}}
    seen["stores"] = {scene.STORE: {"known": draw(st.integers(0, 4)) > 0, "named": {"sha256:a@10": 10}}}
    seen["unheard"] = {name: {"since": 100.0, "tries": 9} for name in HOSTS if name not in seen["hosts"]}
    seen["budgets"] = {"launches": draw(st.sampled_from([1, 100]))}
    return scene.build(desired, ledger, seen)
