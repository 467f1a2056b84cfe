"""The target of a Swarm: the plan chooses the node, its agent prepares, and the managers are told to create one service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts import clock, swarm, target
from reconciler.core import container, model, observed, pools, settle, spec
from reconciler.targets import books, views
from reconciler.targets.swarm import sight, wire

CAPABILITIES = target.Capabilities(engines=frozenset({model.EngineName.CRIU, model.EngineName.NONE}))

STALLED = 30.0
"""Seconds after the end of a task for which its host may still wait, in words that were on their way."""

WORDS = 3
"""Words of a host after which it has certainly looked since."""

Result = settle.Result


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    """When an attempt was first seen to wait for what will not come, and which word of its host said so."""

    at: float
    """Monotonic seconds."""
    session: int
    generation: int


class SwarmTarget:
    """`contracts.target.Target` over the agents of a Swarm's nodes and its managers."""

    def __init__(
        self, declared: model.TargetSpec, instance: str, shared: books.Books, managers: swarm.Swarm, time: clock.Clock
    ) -> None:
        self._name = declared.name
        self._by_pool = declared.by_pool
        self._clock = time
        self._instance = instance
        self._books = shared
        self._managers = managers
        self._views = views.Views()
        self._cluster = ""
        self._nodes: frozenset[str] = frozenset()
        self._members: set[str] = set()
        self._busy: frozenset[spec.AttemptRef] = frozenset()
        self._waiting: dict[spec.AttemptRef, _First] = {}

    def capabilities(self) -> target.Capabilities:
        """Return what containers on a Swarm can do."""
        return CAPABILITIES

    def observe(self, at: float) -> observed.TargetView:
        """Join what agents report with what the managers list. Managers that do not answer make the target unknown."""
        try:
            listing = self._managers.look()
        except errors.PerdureError as error:
            return observed.TargetView(name=self._name, known=False, error=str(error), hosts=self._hosts(at))
        if self._cluster and listing.cluster != self._cluster:
            text = f"this is Swarm {listing.cluster}, and before it was {self._cluster}; if that is meant, start anew"
            return observed.TargetView(name=self._name, known=False, error=text, hosts=self._hosts(at))
        self._cluster = listing.cluster
        self._nodes = frozenset(node.id for node in listing.nodes)
        own, hosts = sight.services(listing, self._instance), self._hosts(at)
        self._busy = frozenset(ref for ref, each in own.items() if not each.over)
        known = sight.Known(
            name=self._name, instance=self._instance, stalled=self._stalled_since(own, hosts, sight.closed(listing))
        )
        return sight.join(known, hosts, listing)

    def apply(self, assignment: spec.Assignment) -> settle.Outcome:
        """Make one attempt stand on its host, and have its service created once the host is ready for it."""
        what = assignment.spec
        if not what.host:
            return settle.Outcome(result=Result.REFUSED, detail="no host was chosen for it")
        self._members.add(what.host)  # its attempt is this target's, whatever its machine says by now
        told = self._books.assign(assignment)
        plain = assignment.want is spec.Want.RUN and assignment.request is None
        if told.result in (Result.UNKNOWN, Result.REFUSED) or not plain:
            return told
        state = self._state(what.host)
        item = next((each for each in state.items if each.ref == what.ref), None) if state is not None else None
        if state is None or item is None or not item.ready:
            return told
        try:
            return self._create(what, state.facts.get(sight.NODE, ""), item.image)
        except errors.Refused as error:
            return settle.Outcome(result=Result.REFUSED, detail=str(error))
        except errors.PerdureError as error:
            return settle.Outcome(result=Result.UNKNOWN, detail=str(error))

    def delete(self, ref: spec.AttemptRef, host: str) -> settle.Outcome:
        """Have the host forget the attempt, then remove its service: with the service goes the container, and what it printed.

        A host that is heard sends the last output to the store before it forgets. The service of one that is not goes at once:
        should the host come back, Swarm ends there what was given up.
        """
        told = self._books.remove(ref, host)
        if told.result is Result.DELETED:
            return told
        try:
            removed = self._remove(ref)
        except errors.Refused as error:
            return settle.Outcome(result=Result.REFUSED, detail=str(error))
        except errors.PerdureError as error:
            return settle.Outcome(result=Result.UNKNOWN, detail=str(error))
        return settle.Outcome(result=Result.DELETED) if removed and told.result is Result.UNCHANGED else told

    def confirm_gone(self, ref: spec.AttemptRef, host: str) -> target.Presence:
        """GONE by the word of the node's agent only, and not against a task that the managers believe alive."""
        presence = self._books.presence(ref, host)
        if presence is not target.Presence.GONE or ref not in self._busy:
            return presence
        state = self._state(host)
        ended = any(item.ref == ref for item in state.items) if state is not None else False
        return presence if ended else target.Presence.UNKNOWN

    def _stalled_since(
        self, own: Mapping[spec.AttemptRef, sight.Own], hosts: Mapping[str, observed.HostView], closed: frozenset[str]
    ) -> frozenset[spec.AttemptRef]:
        """Return the attempts for which no container will be made, while hosts that are heard again and again wait for one."""
        now, before, stalled = self._clock.monotonic(), self._waiting, set()
        self._waiting = {}
        for view in hosts.values():
            session, generation = view.state.session, view.state.generation
            node = view.state.facts.get(sight.NODE, "")
            left, shut = sight.has_left(view.state, self._nodes), node in closed
            for item in view.state.items:
                each = own.get(item.ref)
                bound = each is not None and (each.over or each.idle or (shut and each.unplaced) or each.elsewhere(node))
                never = left or bound
                if not item.ready or view.silent_since is not None or not never:
                    continue
                first = before.get(item.ref)
                if first is None or first.session != session:
                    first = _First(at=now, session=session, generation=generation)
                self._waiting[item.ref] = first
                if now >= first.at + STALLED and generation >= first.generation + WORDS:
                    stalled.add(item.ref)
        return frozenset(stalled)

    def _create(self, what: spec.AttemptSpec, node: str, image: str) -> settle.Outcome:
        if not node:
            return settle.Outcome(result=Result.UNKNOWN, detail=f"host {what.host} does not say which node of the Swarm it is")
        secrets, configs = what.workload.secrets, tuple(each.name for each in what.workload.configs)
        known = wire.Known(
            image=image,
            secrets=self._managers.ids("secrets", secrets) if secrets else {},
            configs=self._managers.ids("configs", configs) if configs else {},
        )
        body = wire.service(what, node, known)
        if self._managers.create(body):
            return settle.Outcome(result=Result.CREATED)
        found = self._managers.find(body["Name"])
        if found is None:
            return settle.Outcome(result=Result.UNKNOWN, detail=f"service {body['Name']} was there and is gone again")
        if not self._owns(found, what.ref):
            return settle.Outcome(result=Result.REFUSED, detail=f"there is a service {found.name} that is not ours")
        return settle.Outcome(result=Result.UNCHANGED)

    def _remove(self, ref: spec.AttemptRef) -> bool:
        found = self._managers.find(container.name(ref))
        return found is not None and self._owns(found, ref) and self._managers.remove(found.id)

    def _owns(self, service: swarm.Service, ref: spec.AttemptRef) -> bool:
        owner = container.owner(service.labels)
        return owner is not None and (owner.instance, owner.ref) == (self._instance, ref)

    def _state(self, host: str) -> observed.HostState | None:
        sight_ = self._books.look().get(host)
        return sight_.state if sight_ is not None else None

    def _hosts(self, at: float) -> dict[str, observed.HostView]:
        """Return the hosts on nodes of this Swarm. One that has left it still counts while it has attempts of it."""
        hosts: dict[str, observed.HostView] = {}
        for name, seen in sorted(self._books.look().items()):
            inside = seen.state.facts.get(sight.NODE, "") in self._nodes
            if inside:
                self._members.add(name)
            elif name not in self._members or not any(sight.mine(seen.state, self._instance)):
                self._members.discard(name)
                continue
            hosts[name] = self._views.of(seen, pools.labelled(seen.state, self._by_pool), at)
        return hosts
