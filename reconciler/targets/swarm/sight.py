"""What agents report, joined with what the managers list. Pure.

The agent of a node has the only word on a container that was created there: managers believe nodes down that are well, and
call an attempt failed that ended by its own checkpoint. Their word counts for what never came to be created, and for what is
still there; nothing is absent because they do not list it.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Container, Iterable, Mapping

from reconciler.contracts import swarm
from reconciler.core import container, observed, spec
from reconciler.targets import views

NODE = "swarm.node"
"""Fact by which an agent says which node of a Swarm its machine is."""

ENGINE = "docker.version"
"""Fact that it has only while its engine answers."""

Items = dict[spec.AttemptRef, observed.Item]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A service of ours and its tasks."""

    service: swarm.Service
    tasks: tuple[swarm.Task, ...] = ()

    @property
    def over(self) -> bool:
        """Whether no container of it runs or will, as far as the managers know. One without tasks is about to get one."""
        return bool(self.tasks) and all(task.state in swarm.OVER for task in self.tasks)

    @property
    def never(self) -> bool:
        """Whether its node says that it has made no container and will not. One that is lost to the managers does not say."""
        return self.over and not any(task.created or task.state == "orphaned" for task in self.tasks)

    @property
    def idle(self) -> bool:
        """Whether somebody has told it to have no task, and it has none."""
        return not self.tasks and self.service.replicas == 0

    @property
    def unplaced(self) -> bool:
        """Whether no node has anything of it."""
        return not any(task.node for task in self.tasks)

    def elsewhere(self, node: str) -> bool:
        """Whether a container may still be made, and not on this node: its machine has joined the Swarm as another one."""
        left = [task for task in self.tasks if task.state not in swarm.OVER]
        return bool(left and node) and all(task.node not in ("", node) for task in left)

    @property
    def said(self) -> str:
        """What the managers say of it, in their own words."""
        if not self.tasks:
            return "somebody has scaled its service to nothing" if self.idle else "its service has no task yet"
        task = next((each for each in self.tasks if each.state not in swarm.OVER), self.tasks[-1])
        text = f"task {task.state}, wanted {task.wanted}"
        return f"{text}: {task.said}" if task.said else text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a target knows besides the hosts with an agent on a node."""

    name: str
    instance: str
    """Attempts of others are not spoken of."""
    stalled: Container[spec.AttemptRef] = ()
    """Attempts whose hosts go on waiting for a container that will not be: its task is over, and it was made and not begun; its
    service was scaled to nothing; nothing new is placed on its node; or its host has left the Swarm, or joined it anew."""


def join(known: Known, hosts: Mapping[str, observed.HostView], listing: swarm.Listing) -> observed.TargetView:
    """Return the target's view."""
    instance = known.instance
    own = services(listing, instance)
    nodes = {node.id: node for node in listing.nodes}
    reserved = _reserved(listing, {each.service.id for each in own.values()})
    items = views.items(hosts, lambda state: mine(state, instance))
    doubt = _doubt(listing, items, own)
    listed = set(items)
    heard = {name for name, view in hosts.items() if view.silent_since is None}
    for ref, item in items.items():
        ends = item.host in heard and (ref in known.stalled or (ref in own and own[ref].never))
        left = item.host in hosts and has_left(hosts[item.host].state, nodes)
        node = hosts[item.host].state.facts.get(NODE, "") if item.host in hosts else ""
        items[ref] = _joined(item, own.get(ref), ends=ends, left=left, node=node)
    items |= {ref: _alone(ref, each) for ref, each in own.items() if ref not in listed and not each.over}
    return observed.TargetView(
        name=known.name,
        known=not doubt,
        error=doubt,
        hosts={host: _offering(view, nodes.get(view.state.facts.get(NODE, "")), reserved) for host, view in hosts.items()},
        items=items,
        objects={ref: each.said for ref, each in own.items()},
    )


def has_left(state: observed.HostState, nodes: Container[str]) -> bool:
    """Whether a machine's engine answers, and is none of these nodes: one that comes back is another node."""
    return ENGINE in state.facts and state.facts.get(NODE, "") not in nodes


def closed(listing: swarm.Listing) -> frozenset[str]:
    """Return the nodes on which somebody lets nothing new be placed."""
    return frozenset(node.id for node in listing.nodes if node.availability != "active")


def services(listing: swarm.Listing, instance: str) -> dict[spec.AttemptRef, Own]:
    """Return the services of an instance by attempt, each with its tasks."""
    tasks: dict[str, list[swarm.Task]] = collections.defaultdict(list)
    for task in listing.tasks:
        tasks[task.service].append(task)
    found: dict[spec.AttemptRef, Own] = {}
    for service in listing.services:
        owner = container.owner(service.labels)
        if owner is not None and owner.instance == instance and service.name == container.name(owner.ref):
            found[owner.ref] = Own(service=service, tasks=tuple(tasks[service.id]))
    return found


def mine(state: observed.HostState, instance: str) -> Iterable[observed.Item]:
    """Yield the attempts of a host that its Swarm creates the containers of, and those of which it cannot say."""
    for item in state.items:
        if item.spec is None or (item.spec.created_by is spec.Creator.ENGINE and item.spec.instance == instance):
            yield item


def _doubt(listing: swarm.Listing, items: Items, own: Mapping[spec.AttemptRef, Own]) -> str:
    """Say why a listing is not to be believed: it lacks what must be there. Empty: it is believed."""
    if not listing.nodes:
        return "the managers list no node at all"
    running = [ref for ref, item in items.items() if item.state is observed.ItemState.RUNNING and item.spec is not None]
    if len(running) > 1 and not any(ref in own for ref in running):
        return f"the managers list no service of any of the {len(running)} attempts that hosts run"
    return ""


def _joined(item: observed.Item, own: Own | None, *, ends: bool, left: bool, node: str) -> observed.Item:
    """An attempt that its host reports; `ends`: a container that it still waits for has not begun, and never will; `left`: its
    host is no node of the Swarm, else `node`.

    That the task is over is not enough: a short program may have run and finished before its host's word of it arrives.
    """
    if item.state is observed.ItemState.ENDED:
        return item
    if item.state is observed.ItemState.RUNNING:
        return item if own is not None else _with(item, "its service is gone: Swarm ends its container")
    if ends:
        why = f"host {item.host} is not a node of it any more"
        if own is not None and not left:
            why = (own.tasks[-1].said if own.tasks else "") or own.said
            if own.elsewhere(node):
                why = f"host {item.host} has become another node of it"
        detail = f"Swarm could not create its container: {why}"
        never = observed.Exit(kind=observed.ExitKind.NOT_STARTED, detail=detail)
        return dataclasses.replace(item, state=observed.ItemState.ENDED, ready=False, exit=never)
    if left:
        return dataclasses.replace(_with(item, f"host {item.host} is not a node of the Swarm now"), ready=False)
    if own is None:
        return item
    return dataclasses.replace(_with(item, f"Swarm: {own.said}"), ready=False)


def _alone(ref: spec.AttemptRef, own: Own) -> observed.Item:
    """A service that may have a container, of an attempt that no host lists: not known to run, and certainly not absent."""
    text = f"no agent reports it, and Swarm has a service for it ({own.said})"
    return observed.Item(ref=ref, state=observed.ItemState.RUNNING, condition=text)


def _with(item: observed.Item, told: str) -> observed.Item:
    text = "; ".join(each for each in (item.condition, told) if each)
    return item if text == item.condition else dataclasses.replace(item, condition=text)


def _offering(view: observed.HostView, node: swarm.Node | None, reserved: Mapping[str, tuple[int, int]]) -> observed.HostView:
    """A host with what its node adds: labels, less room, and whether Swarm would place anything there."""
    state = view.state
    if node is None:
        return dataclasses.replace(view, closed="not a node of the Swarm now")
    closed = f"set to {node.availability} in the Swarm" if node.availability != "active" else ""
    if node.state != "ready":
        closed = f"{node.state} in the Swarm"
    held_cpu, held_memory = reserved.get(node.id, (0, 0))
    offer = dataclasses.replace(
        state,
        labels={**node.labels, **state.labels},
        cpu=min(state.cpu, node.cpu),
        memory=min(state.memory, node.memory),
        conditions=(*state.conditions, f"its node is {closed}") if closed else state.conditions,
    )
    return dataclasses.replace(view, state=offer, closed=closed, held_cpu=held_cpu, held_memory=held_memory)


def _reserved(listing: swarm.Listing, own: set[str]) -> Mapping[str, tuple[int, int]]:
    """Return what tasks of others reserve, by node: Swarm does not place ours beyond the rest."""
    taken: dict[str, tuple[int, int]] = {}
    for task in listing.tasks:
        if task.service not in own and task.state not in swarm.OVER:
            cpu, memory = taken.get(task.node, (0, 0))
            taken[task.node] = (cpu + task.cpu, memory + task.memory)
    return taken
