"""The managers of a Swarm over the Docker API: whichever of the given addresses answers. The thin part: words are `wire`'s."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.auth
import docker.errors
import docker.tls

from reconciler import errors
from reconciler.contracts import clock, swarm
from reconciler.core import model
from reconciler.targets.swarm import wire

VERSION = "1.44"
"""Of the API: the newest that Docker 25 speaks and the oldest that Docker 29 does."""

SECONDS = 5.0
"""For one request to one manager."""

BUDGET = 15.0
"""Seconds after which no further manager is asked: a look at all targets has 20."""

PAUSE = 5.0
"""Seconds in which nobody is asked after none has answered: a pass with many actions must not wait that long for each."""

REGISTRIES = "registries.json"
"""File of registry credentials in the folder of keys, in the form of Docker's own config.json (`auths`)."""

T = TypeVar("T")


class Managers:
    """`contracts.swarm.Swarm` over the managers at the addresses of a Target. May be called from any thread."""

    def __init__(self, declared: model.SwarmSpec, keys: Path, time: clock.Clock) -> None:
        """`keys` is the folder of this installation's keys. Nothing is opened or asked before the first call."""
        self._declared = declared
        self._keys = keys
        self._clock = time
        self._lock = threading.Lock()
        self._addresses = [declared.host, *declared.others]
        self._silent: tuple[float, str] | None = None
        """Until when (monotonic seconds) nobody is asked, and what was said last."""

    def look(self) -> swarm.Listing:
        """List nodes, services and tasks of the manager that answers."""

        def ask(client: docker.APIClient) -> swarm.Listing:
            # Services before tasks, so that a service created meanwhile has its tasks, and not tasks without a service.
            cluster = _get(client, "swarm")
            nodes, services, tasks = (_get(client, kind) for kind in ("nodes", "services", "tasks"))
            return swarm.Listing(
                cluster=cluster["ID"],
                nodes=tuple(wire.node(each) for each in nodes),
                services=tuple(wire.read_service(each) for each in services),
                tasks=tuple(wire.task(each) for each in tasks),
            )

        return self._asked(ask)

    def create(self, service: swarm.Body) -> bool:
        """Create a service. Its name is the lock: asked twice, also of two managers, there is one."""
        image = service["TaskTemplate"]["ContainerSpec"]["Image"]
        headers = self._credentials(image)

        def ask(client: docker.APIClient) -> bool:
            answer = _sent(client.post, client, "services/create", json=service, headers=headers)
            if answer.status_code == 409:
                return False
            _check(answer)
            return True

        return self._asked(ask)

    def find(self, name: str) -> swarm.Service | None:
        """Look a service up by its exact name."""

        def ask(client: docker.APIClient) -> swarm.Service | None:
            found = _get(client, "services", {"name": [name]})  # the filter is for prefixes
            return next((each for each in map(wire.read_service, found) if each.name == name), None)

        return self._asked(ask)

    def remove(self, id: str) -> bool:
        """Remove a service."""

        def ask(client: docker.APIClient) -> bool:
            answer = _sent(client.delete, client, f"services/{id}")
            if answer.status_code == 404:
                return False
            _check(answer)
            return True

        return self._asked(ask)

    def ids(self, kind: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """Look up secrets or configs."""
        known = self._asked(lambda client: wire.names(_get(client, kind)))
        missing = [name for name in names if name not in known]
        if missing:
            one = kind.removesuffix("s")
            raise errors.Refused(
                f"the Swarm has no {one} {', '.join(missing)}", remedy=f"On a manager: docker {one} create {missing[0]} FILE"
            )
        return {name: known[name] for name in names}

    def _asked(self, ask: Callable[[docker.APIClient], T]) -> T:
        """Ask one manager after the other; the one that answers is asked first from then on."""
        with self._lock:
            now = self._clock.monotonic()
            if self._silent is not None and now < self._silent[0]:
                raise errors.Unavailable(self._silent[1])
            said: list[str] = []
            for address in list(self._addresses):
                if said and self._clock.monotonic() > now + BUDGET:
                    break
                try:
                    with contextlib.closing(self._client(address)) as client:
                        answer = ask(client)
                except errors.Unavailable as error:
                    said.append(f"{address}: {error.message}")
                    continue
                except (LookupError, TypeError, ValueError, AttributeError) as error:
                    said.append(f"{address}: an answer that is not a manager's ({error!r:.80})")
                    continue
                self._addresses.remove(address)
                self._addresses.insert(0, address)
                self._silent = None
                return answer
            text = f"no manager of the Swarm answers: {'; '.join(said)}"
            self._silent = (self._clock.monotonic() + PAUSE, text)
            raise errors.Unavailable(text)

    def _client(self, address: str) -> docker.APIClient:
        """Return a client for an address; nothing is sent when it is made. One a question: keys are read anew each time."""
        if address.startswith("unix://"):
            _knock(address.removeprefix("unix://"))
        try:
            tls = self._tls() if address.startswith("tcp://") else False
            client = docker.APIClient(base_url=address, version=VERSION, timeout=int(SECONDS), tls=tls)
            client.trust_env = False  # an environment's proxies, and authorities for the web, are none for managers
            return client
        except docker.errors.DockerException as error:
            raise errors.Refused(f"{address}: {error}") from error

    def _tls(self) -> docker.tls.TLSConfig:
        folder = self._keys / "tls" / self._declared.tls
        files = {name: folder / name for name in ("ca.pem", "cert.pem", "key.pem")}
        for path in files.values():
            if not path.is_file():
                raise errors.Refused(
                    "this file of the keys for the Swarm's managers does not exist",
                    where=str(path),
                    remedy="Put ca.pem, cert.pem and key.pem there, or correct spec.swarm.tls.",
                )
        _only_ours(files["key.pem"])
        pair = (str(files["cert.pem"]), str(files["key.pem"]))
        return docker.tls.TLSConfig(client_cert=pair, ca_cert=str(files["ca.pem"]), verify=True)

    def _credentials(self, image: str) -> dict[str, str]:
        """Return the header with which nodes pull an image, when the keys have credentials for its registry."""
        path = self._keys / REGISTRIES
        if not path.exists():
            return {}
        _only_ours(path)
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["auths"]
            known = docker.auth.AuthConfig({"auths": docker.auth.AuthConfig.parse_auth(entries, raise_on_error=True)})
            registry, _ = docker.auth.resolve_repository_name(image)
            found = known.resolve_authconfig(registry)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, docker.errors.DockerException) as error:
            raise errors.Refused(
                f"the credentials of registries cannot be read for image {image}",
                where=str(path),
                remedy='It is {"auths": {"REGISTRY": {"auth": …}}}, as `docker login` writes it.',
            ) from error
        return {"X-Registry-Auth": docker.auth.encode_header(found).decode()} if found else {}


def _knock(path: str) -> None:
    """See whether anybody listens. The package would leave its end open where nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(path)
        except OSError as error:
            raise errors.Unavailable(f"no answer ({error.strerror or error})") from error


def _only_ours(path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise errors.Refused(
            "this file with a secret can be read by others", where=str(path), remedy=f"chmod 600 {shlex.quote(str(path))}"
        )


def _get(client: docker.APIClient, kind: str, filters: Mapping[str, list[str]] | None = None) -> Any:
    params = {"filters": json.dumps(filters)} if filters else {}
    answer = _sent(client.get, client, kind, params=params)
    _check(answer)
    return answer.json()


def _sent(send: Callable[..., Any], client: docker.APIClient, path: str, **more: Any) -> Any:
    """Send one request. Whatever goes wrong on the way is no answer."""
    try:
        return send(f"{client.base_url}/v{VERSION}/{path}", timeout=SECONDS, **more)
    except (docker.errors.DockerException, OSError) as error:  # what the package raises of its own transport is an OSError
        kind = type(error).__name__
        text = "no answer in time" if "Timeout" in kind else f"no answer ({kind})"
        raise errors.Unavailable(text) from error


def _check(answer: Any) -> None:
    """Raise what a status means. From 500 on nobody knows: no leader, a deadline, an engine that is no manager (503)."""
    if answer.status_code < 400:
        return
    try:
        said = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.reason
    if answer.status_code >= 500 or answer.status_code in (401, 403, 408, 429):
        raise errors.Unavailable(said)
    raise errors.Refused(f"the Swarm says no: {said}")
