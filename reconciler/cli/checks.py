"""The checks of `perdure doctor`: a table; each row looks at one thing and says how it is mended."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from email import utils
from pathlib import Path
from urllib import error as urlerror
from urllib import request

from reconciler import errors
from reconciler.cli import compose, findings, output, view
from reconciler.contracts import store
from reconciler.core import model, observed, transition
from reconciler.ledger import wire
from reconciler.seams import durable
from reconciler.seams.git import address, faults, process

LOW = 1 << 30
"""Bytes of free space below which a warning is worth it."""

SKEW = 5.0
"""Seconds by which clocks may differ before certificates, deadlines and notes become confusing."""


def _git(_: findings.Surroundings) -> Iterator[findings.Finding]:
    process.require()
    yield findings.ok(f"git is recent enough; Python {platform.python_version()}")


def _repository(about: findings.Surroundings) -> Iterator[findings.Finding]:
    where = address.shown(about.settings.source.repository)
    if about.broken is not None:
        yield findings.fail(
            f"{where}: {about.broken.message}", about.broken.remedy or "Check source.repository (--repo) and the network."
        )
        return
    seen = about.seen
    if seen is None or seen.desired is None:
        notice = seen.notice if seen else "it was not read"
        yield findings.fail(f"{where}: {notice}", "Check source.repository (--repo) and source.ref (--ref).")
        return
    if seen.notice:
        yield findings.warn(f"{where}: {seen.notice}")
    yield findings.ok(f"{where} is read; {about.settings.source.ref} is at {seen.desired.revision[:12]}")


def _manifests(about: findings.Surroundings) -> Iterator[findings.Finding]:
    desired = about.seen.desired if about.seen else None
    if desired is None:
        return
    if desired.problems:
        first = desired.problems[0]
        yield findings.fail(f"{len(desired.problems)} problems; the first: {first}", "`perdure validate` shows every one.")
    elif not desired.jobs:
        yield findings.warn("no Job is declared", "`perdure init` makes a repository to begin with.")
    else:
        count = len(desired.jobs)
        yield findings.ok(f"{count} job{'s' if count > 1 else ''}, no problem")


def _push(about: findings.Surroundings) -> Iterator[findings.Finding]:
    desired = about.seen.desired if about.seen else None
    if about.looker is None or desired is None:
        return
    ref = wire.state_ref(about.settings.instance)
    mirrored = about.looker.mirror
    try:
        mirrored.rehearse(f"{ref}-rehearsal", desired.revision)
    except faults.Failed as failure:
        yield findings.fail(
            f"the ledger cannot be pushed to {ref}: {failure.detail}", "Let this user push to refs/perdure/* and refs/notes/*."
        )
        return
    path = mirrored.access.address.path if mirrored.access else mirrored.directory
    if path is not None and not os.access(address.git_directory(path), os.W_OK):
        yield findings.fail(
            f"{path} cannot be written by this user", f"Give this user the right: chown -R $(id -un) {shlex.quote(str(path))}"
        )
        return
    yield findings.ok(f"{ref} may be pushed, as far as the server tells without a push")


def _notes(about: findings.Surroundings) -> Iterator[findings.Finding]:
    """Whether a person's own clone brings the notes; looked at without running git in it."""
    try:
        process.require()
    except errors.PerdureError:
        return  # `git` tells it
    import git  # it cannot be imported where git is missing

    wanted = f"refs/notes/perdure/{about.settings.instance}"
    try:
        clone = git.Repo(Path.cwd(), search_parent_directories=True)
    except git.exc.GitError:
        return
    with clone, clone.config_reader() as reader:
        if not reader.has_section('remote "origin"'):
            return
        fetched = reader.get_values('remote "origin"', "fetch", default="")
    if any("refs/notes/" in str(each) for each in fetched):
        yield findings.ok("this clone fetches the notes")
    else:
        yield findings.warn(
            f"this clone does not fetch {wanted}",
            "git config --add remote.origin.fetch '+refs/notes/perdure/*:refs/notes/perdure/*'",
        )


def _data(about: findings.Surroundings) -> Iterator[findings.Finding]:
    folder = about.data
    quoted = shlex.quote(str(folder))
    if not folder.exists():
        above = next(each for each in folder.parents if each.exists())
        if os.access(above, os.W_OK):
            yield findings.ok(f"{folder} will be made")
        else:
            yield findings.fail(f"{folder} cannot be made", f"mkdir -p {quoted}, or name another one with --data")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield findings.fail(f"{folder} cannot be written", f"chown $(id -un) {quoted}, or name another one with --data")
        return
    if stat.S_IMODE(folder.stat().st_mode) & 0o066:
        yield findings.warn(f"{folder} can be read by others", f"chmod go-rw {quoted}")
    yield _space(folder, shutil.disk_usage(folder).free)
    lock = durable.DirectoryLock(folder)
    try:
        with lock:
            yield (
                findings.warn("no loop runs here", "`perdure reconcile` starts it.")
                if about.settings.agents.embedded
                else findings.ok("no other process uses it")
            )
    except errors.Busy as busy:
        yield findings.ok(busy.message.replace("the data directory", str(folder)))


def _space(where: Path | str, free: int) -> findings.Finding:
    if free < LOW:
        return findings.warn(f"{where} has only {output.size(free)} left", "Free some space.")
    return findings.ok(f"{where} has {output.size(free)} free")


def _keys(about: findings.Surroundings) -> Iterator[findings.Finding]:
    for name, given in (("keys", about.settings.keys.directory), ("secrets", about.settings.keys.secrets)):
        folder = Path(given) if given else about.data / name
        if not folder.is_dir():
            if given:
                yield findings.fail(
                    f"{folder} is no folder",
                    f"mkdir -m 700 {shlex.quote(str(folder))}, or correct keys.directory and keys.secrets",
                )
            continue
        loose = [path for path in sorted(folder.rglob("*")) if _loose(path)]
        for path in loose:
            yield findings.fail(f"{path} can be read by others", f"chmod 600 {shlex.quote(str(path))}")
        if not loose:
            yield findings.ok(f"{folder}: only this user can read the secret files")


def _loose(path: Path) -> bool:
    """Whether a secret file is readable by others; public halves and certificates may be."""
    public = path.suffix in (".pub", ".crt")
    return path.is_file() and not public and bool(path.stat().st_mode & 0o077)


def _stores(about: findings.Surroundings) -> Iterator[findings.Finding]:
    desired = about.seen.desired if about.seen else None
    opened = compose.stores(about.settings)
    for declared in desired.stores.values() if desired else ():
        yield _store(declared, opened)


def _store(declared: model.StoreSpec, opened: Callable[[model.StoreSpec], store.Store]) -> findings.Finding:
    try:
        health = opened(declared).health()
    except errors.PerdureError as error:
        return findings.fail(f"{declared.name} ({declared.root}): {error.message}", error.remedy)
    if not health.ok:
        remedy = health.remedy or f"Free space in {declared.root}."
        return findings.fail(f"{declared.name} ({declared.root}): {health.detail}", remedy)
    mounted = ", mounted" if declared.must_be_mounted else ""
    used = f", {output.size(health.used_bytes)} used" if health.used_bytes is not None else ""
    return findings.ok(
        f"{declared.name} ({declared.root}) can be written{mounted}, {output.size(health.free_bytes)} free{used}"
    )


def _hosts(about: findings.Surroundings) -> Iterator[findings.Finding]:
    seen = about.seen
    if seen is None or seen.desired is None:
        return
    if about.target and about.target not in seen.desired.targets:
        names = ", ".join(seen.desired.targets) or "none"
        yield findings.fail(f"target {about.target} is not declared", f"Declared are: {names}.")
        return
    if seen.age is None:
        yield findings.warn("nothing was observed yet", "`perdure reconcile` observes.")
        return
    found = False
    for name, target in seen.world.targets.items():
        if about.target in ("", name):
            if not target.known:
                yield findings.fail(
                    f"target {name} cannot be listed: {target.error}", "Are its managers up, and may we reach them?"
                )
            for host in target.hosts.values():
                if about.host in ("", host.state.host):
                    found = True
                    yield from _host(host, seen)
    if about.host and not found:
        yield findings.fail(
            f"host {about.host} was not heard", f"perdure token create {about.host}; then `perdure-agent join` there"
        )
    elif not found:
        yield findings.fail("no host was heard", "Set agents.embedded, or let hosts join: `perdure token create HOST`.")


def _host(host: observed.HostView, seen: view.View) -> Iterator[findings.Finding]:
    state = host.state
    if state.host in seen.snapshot.revoked:
        yield findings.ok(f"{state.host} is revoked")
        return
    if host.silent_since is not None:
        gap = transition.duration(seen.now - host.silent_since)
        remedy = (
            f"Is its agent running? `perdure-agent status` there; `perdure host revoke {state.host}` if it is gone for good."
        )
        yield findings.fail(f"{state.host} has not been heard for {gap}", remedy)
        return
    offer = f"{transition.cores(state.cpu)}, {output.size(state.memory)}"
    age = transition.duration(seen.age)
    running = seen.world.running(state.host)
    yield findings.ok(f"{state.host} offers {offer}; {running} attempt{'' if running == 1 else 's'} (seen {age} ago)")
    for text in state.conditions:
        yield findings.warn(f"{state.host}: {text}")


def _clock(about: findings.Surroundings) -> Iterator[findings.Finding]:
    """Compare with the date that a web server gives; other servers tell none."""
    where = about.settings.source.repository
    if not where.startswith("https://"):
        return
    site = "/".join(where.split("/")[:3])
    try:
        with request.urlopen(request.Request(site, method="HEAD"), timeout=5) as answer:
            told = answer.headers.get("Date")
    except urlerror.HTTPError as answer:
        told = answer.headers.get("Date")
    except OSError:
        return
    if told:
        skew = time.time() - utils.parsedate_to_datetime(told).timestamp()
        if abs(skew) > SKEW:
            yield findings.warn(f"this clock differs from {site}'s by {skew:+.0f} s", "timedatectl set-ntp true")
        else:
            yield findings.ok(f"this clock agrees with {site}'s")


TABLE = (
    findings.Check(subject="git", look=_git),
    findings.Check(subject="repository", look=_repository),
    findings.Check(subject="manifests", look=_manifests),
    findings.Check(subject="ledger", look=_push),
    findings.Check(subject="notes", look=_notes),
    findings.Check(subject="data", look=_data),
    findings.Check(subject="keys", look=_keys),
    findings.Check(subject="store", look=_stores),
    findings.Check(subject="hosts", look=_hosts),
    findings.Check(subject="clock", look=_clock),
)
"""In the order in which one thing needs the other."""
