"""Images of a real registry: behind a password, away, and with a tag that moves between two steps."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import journal
from reconciler.contracts import swarm as contract
from reconciler.core import codec, model
from reconciler.seams import clock
from reconciler.targets.swarm import api, wire
from tests import conditions
from tests.lab import fleet, recipe
from tests.lab import swarm as swarms
from tests.lab.lab import Lab
from tests.lab.registry import Registry

USER, PASSWORD, WRONG = "ada", "corr3ct-h0rse", "wr0ng-p0ny"
CREDENTIALS = "/var/lib/perdure/agent/registries.json"
KEYS = "/var/lib/perdure/reconciler/keys/registries.json"
COUNT = "n=0; while :; do n=$((n+1)); echo is $WHICH $n; sleep 0.05; done"

TARGET = """\
apiVersion: perdure.dev/v1alpha1
kind: Target
metadata: {name: cluster}
spec: {swarm: {host: "%s"}}
"""


class Shop:
    """A registry with a password, and a host that is a plain one and a Swarm of its own."""

    def __init__(self, lab: Lab) -> None:
        self.registry = Registry(node=lab.node("registry")).start({USER: PASSWORD})
        self.fleet = fleet.Fleet(lab, lost_after="60s")
        self.url = f"unix://{self.fleet.inside}/alpha.sock"
        self.host = self.fleet.host("alpha", {**self.registry.trust, "hosts": ["unix:///run/docker.sock", self.url]})
        self.swarm = swarms.form([self.host.docker])
        self.fleet.commit({"cluster.yaml": TARGET % self.url})
        self.host.docker.load(recipe.TINY_IMAGE)
        self.lab = lab

    def offer(self, tag: str, which: str) -> str:
        """Let a tag of the registry mean an image that tells `which`. Answers its id."""
        self.host.docker.cli("login", "--username", USER, "--password", PASSWORD, self.registry.name)
        try:
            return self.registry.push(self.host.docker, recipe.TINY_IMAGE, tag, which)
        finally:
            self.host.docker.cli("logout", self.registry.name)

    def know(self, password: str | None, path: str = CREDENTIALS) -> None:
        """Lay down what the host (or the reconciler) has for the registry."""
        node = self.host.node if path == CREDENTIALS else self.fleet.control
        known = {self.registry.name: {"auth": encoded(password)}} if password else {}
        node.write(path, json.dumps({"auths": known}), mode=0o600)

    def declare(self, name: str, tag: str, target: str, checkpoint: str = "{engine: none}", extra: str = "") -> str:
        text = (
            f"apiVersion: perdure.dev/v1alpha1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  target: {target}\n"
            f"  workload: {{image: {self.image(tag)}, command: [/bin/sh, -c, {fleet.quoted(COUNT)}]}}\n"
            f"  checkpoint: {checkpoint}\n{extra}"
        )
        self.fleet.commit({f"job-{name}.yaml": text})
        return text

    def image(self, tag: str) -> str:
        return f"{self.registry.name}/{tag}"

    def tells(self, job: str, which: str, attempt: int = 1) -> None:
        """Waits until an attempt has said of which image it is, and none has said another."""

        def said() -> bool:
            return f"is {which} " in self.fleet.log(job, "--attempt", str(attempt))

        conditions.eventually(said, 120, interval=0.5, message=lambda: self.fleet.told(job))
        assert set(self.fleet.log(job, "--attempt", str(attempt)).split()[1::3]) == {which}

    def has(self, tag: str) -> bool:
        """Whether the host has the image that it knows by a name."""
        return not self.host.node.run(["docker", "image", "inspect", self.image(tag)], check=False).returncode

    def prepared_while_the_loop_is_away(self, name: str, tag: str) -> journal.Entry:
        """Declares a job for the Swarm and answers what its host has prepared, and nobody has created a service for."""
        self.registry.pause(still=True)
        self.declare(name, tag, "cluster")
        try:
            self.fleet.until(name, lambda run: run["attempts"])
            entry = conditions.eventually(lambda: self.entry(name), 60, message=lambda: self.fleet.told(name))
            self.fleet.stop_loop()
        finally:
            self.registry.pause(still=False)
        ready = conditions.eventually(lambda: self.entry(name, journal.Stage.STARTED), 120, message=self.host.said)
        assert entry is not None
        assert ready is not None
        return ready

    def entry(self, job: str, stage: journal.Stage | None = None) -> journal.Entry | None:
        """What the host has journalled of a job's attempt."""
        for path in self.host.node.path("/var/lib/perdure/agent/attempts").glob("*/entry.json"):
            entry = codec.decode(path.read_bytes(), journal.Entry)
            if entry.spec.job == job and stage in (None, entry.stage):
                return entry
        return None

    def managers(self, keys: Path) -> api.Managers:
        """The managers as another reconciler has them, that knows the password."""
        known = {self.registry.name: {"auth": encoded(PASSWORD)}}
        (keys / "registries.json").touch(0o600)
        (keys / "registries.json").write_text(json.dumps({"auths": known}))
        return api.Managers(model.SwarmSpec(host=self.host.docker.url), keys, clock.System())


def encoded(password: str) -> str:
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def built(lab: Lab) -> Iterator[Shop]:
    made = Shop(lab)
    yield made
    made.fleet.close()
    lab.remove(made.registry.node)


@pytest.fixture
def shop(built: Shop) -> Iterator[Shop]:
    """The host knows the password; afterwards nothing runs."""
    built.know(PASSWORD)
    built.know(None, KEYS)
    yield built
    left = {path.name: None for path in (built.fleet.outside / "desired").glob("job-*.yaml")}
    built.fleet.commit(left, "Nothing is to run\n\nPerdure-Allow-Empty: true")
    conditions.eventually(lambda: not built.host.containers(), 60)


def ended(number: int) -> Callable[[dict[str, Any]], Any]:
    return lambda run: len(run["attempts"]) >= number and run["attempts"][number - 1]["ending"]


@pytest.mark.parametrize("target", ["machines", "cluster"])
def test_an_image_behind_a_password(shop: Shop, target: str) -> None:
    """On a Swarm the agent has pulled it already: the node takes it as it is, and the managers need no credentials."""
    shop.offer(f"closed/{target}:1", "one")
    shop.declare(f"buys-{target}", f"closed/{target}:1", target)
    shop.tells(f"buys-{target}", "one")
    assert silent_about(shop, PASSWORD)


@pytest.mark.parametrize("target", ["machines", "cluster"])
@pytest.mark.parametrize(
    ("known", "said"),
    [(WRONG, "does not accept the user and password that this host has for it"), (None, "wants a user and a password")],
    ids=["wrong", "none"],
)
def test_a_password_that_is_not_the_registrys(shop: Shop, target: str, known: str | None, said: str) -> None:
    name = f"{'wrong' if known else 'none'}-{target}"
    shop.know(known)
    shop.offer(f"{name}/image:1", "one")
    shop.declare(name, f"{name}/image:1", target)
    run = shop.fleet.until(name, lambda run: run["phase"] == "failed")
    assert [each["failure"] for each in run["attempts"]] == ["StartRefused"], "it is said once"
    why = " ".join(shop.fleet.perdure("why", name, check=False).split())
    assert f"registry {shop.registry.name} {said}" in why
    assert f"docker login {shop.registry.name}" in why
    assert CREDENTIALS in why
    assert silent_about(shop, WRONG)


def silent_about(shop: Shop, password: str) -> bool:
    """Whether neither word of the credentials stands in a log, a note, the ledger, a service, or an argument of a process."""
    repository = f"{shop.fleet.inside}/repository.git"
    told = "for ref in $(git for-each-ref --format '%(refname)'); do git log -p $ref; git ls-tree -r $ref; done"
    said = [
        shop.host.said(),
        shop.host.node.run(["sh", "-c", "cat /var/log/dockerd.log /var/log/agent.log"]).stdout,
        shop.host.node.out("ps", "-eo", "args"),
        shop.fleet.control.run(["sh", "-c", f"cat /var/log/perdure.log; cd {repository}; {told}"], env=fleet.PLAIN).stdout,
        shop.host.node.run(["sh", "-c", "docker service ls -q | xargs -r docker service inspect"]).stdout,
    ]
    assert shop.registry.name in said[3], "the Job names it"
    return not any(secret in text for text in said for secret in (password, encoded(password)))


def test_a_registry_that_is_away_is_waited_for(shop: Shop) -> None:
    shop.offer("away/image:1", "one")
    shop.registry.stop()
    shop.declare("waits", "away/image:1", "machines")
    try:
        text = f"image {shop.image('away/image:1')} cannot be pulled"
        conditions.eventually(lambda: text in " ".join(shop.fleet.perdure("why", "waits", check=False).split()), 60)
    finally:
        shop.registry.start({USER: PASSWORD})
    shop.tells("waits", "one")
    assert len(shop.fleet.run("waits")["attempts"]) == 1


def test_a_tag_that_moves_after_it_was_prepared_is_not_followed(shop: Shop) -> None:
    shop.offer("moved/image:1", "one")
    shop.prepared_while_the_loop_is_away("moves", "moved/image:1")
    shop.offer("moved/image:1", "two")
    shop.fleet.start_loop()
    shop.tells("moves", "one")


def test_and_is_refused_where_a_node_has_followed_it(shop: Shop, tmp_path: Path) -> None:
    """An older reconciler names the image as the Job does: the node asks the registry, and gets another."""
    shop.offer("followed/image:1", "one")
    entry = shop.prepared_while_the_loop_is_away("follows", "followed/image:1")
    other = shop.offer("followed/image:1", "two")
    by_name = wire.service(entry.spec, shop.swarm.node_id(shop.host.node), wire.Known())
    managers = shop.managers(tmp_path)
    assert managers.create(by_name)

    def refused() -> contract.Task | None:
        return next((each for each in managers.look().tasks if each.state == "failed"), None)

    task = conditions.eventually(refused, 60)
    assert task is not None
    assert f"made of image {other[:19]}" in task.said
    shop.fleet.start_loop()
    run = shop.fleet.until("follows", ended(1), timeout=180)
    assert run["attempts"][0]["failure"] == "StartFailed"
    assert shop.fleet.log("follows", "--attempt", "1") == ""


def test_what_was_saved_goes_on_with_the_image_that_it_was_saved_with(shop: Shop) -> None:
    shop.offer("saved/image:1", "one")
    text = shop.declare("saves", "saved/image:1", "cluster", checkpoint="{}")
    shop.tells("saves", "one")
    shop.fleet.commit({"job-saves.yaml": text + "  state: Suspended\n"})
    shop.fleet.until("saves", lambda run: run["phase"] == "suspended")
    shop.offer("saved/image:1", "two")
    conditions.eventually(lambda: not shop.host.containers(), 60)
    shop.host.docker.cli("image", "prune", "--force", "--all")
    shop.host.docker.load(recipe.TINY_IMAGE)
    shop.fleet.commit({"job-saves.yaml": text})
    shop.tells("saves", "one", attempt=2)


def test_a_node_that_has_lost_the_image_pulls_the_very_same(shop: Shop) -> None:
    """With the credentials that the reconciler sends along."""
    shop.know(PASSWORD, KEYS)
    shop.offer("pruned/image:1", "one")
    shop.prepared_while_the_loop_is_away("pruned", "pruned/image:1")
    shop.offer("pruned/image:1", "two")
    shop.host.docker.cli("image", "prune", "--force", "--all")
    shop.fleet.start_loop()
    shop.tells("pruned", "one")
    assert len(shop.fleet.run("pruned")["attempts"]) == 1
    assert silent_about(shop, PASSWORD)
