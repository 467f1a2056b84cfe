"""An agent with everything it needs, from a data directory: the same for the process and for the embedded form."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent import (
    account,
    cgroups,
    codetree,
    controller,
    descriptors,
    doorbell,
    journal,
    loop,
    places,
    priority,
    process,
    setup,
    sweeping,
    uplink,
    workers,
)
from agent.containers import opening as containers
from agent.containers import router
from reconciler import errors
from reconciler.contracts import clock as clocks
from reconciler.core import model
from reconciler.engines import application
from reconciler.seams import durable
from reconciler.storage.opened import Opened

_log = logging.getLogger("perdure.agent")

WORKERS = 36
"""Threads for steps: the checkpoints that may be taken at once or stand in line, and nearly as many other steps beside them."""
UNUSED = 7 * 86400.0
"""Seconds after which code and environments that nothing has used are removed, when an agent starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person may say about an agent."""

    data: Path
    name: str = ""
    """Host name; empty: this machine's."""
    pool: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cpu: int | None = None
    """Thousandths of a core offered; None: all."""
    memory: int | None = None
    """Bytes offered; None: all."""
    user: str = ""
    """Who runs jobs when the agent is root; empty: "nobody"."""
    secrets: Path | None = None
    """Folder of job secrets; None: DATA/secrets."""
    keys: Path | None = None
    """Folder of key files; None: DATA/keys."""
    jobs: Path | None = None
    """Where what jobs see is kept; None: below DATA where the jobs' user can reach that."""
    docker: str = ""
    """Socket of the container engine; empty: dockerd's, if it is there; "none": no containers."""
    pace: setup.Pace = field(default_factory=setup.Pace)


@contextlib.contextmanager
def opened(options: Options, link: uplink.Uplink, clock: clocks.Clock) -> Iterator[loop.Agent]:
    """Yield an agent that is ready to run, with its door bell answered; it has the data directory for itself.

    Raises `errors.Busy` when another agent has the directory, `errors.UsageError` for a user that may not run jobs, and
    `errors.Unavailable`.
    """
    with durable.DirectoryLock(options.data, "the agent's data directory"):
        known = containers.told()
        about = prepare(options, clock)
        book = journal.Journal(about.places)
        book.open(clock.now())
        trees = codetree.CodeTrees(about.places.code, link.archive)
        controller.sweep(about, trees, book, clock.now() - UNUSED)
        processes = controller.HostController(about, trees)
        engine = containers.socket(options.docker)
        try:
            with contextlib.ExitStack() as stack:
                boxes = stack.enter_context(containers.opened(about, book, containers.on(engine), known)) if engine else None
                agent = loop.Agent(about, book, link, router.Router(processes, boxes), workers.Threads(WORKERS))
                sweeping.begin(about, book.entries.values())
                stack.enter_context(doorbell.answered(about.places.socket, agent))
                yield agent
        finally:
            if about.groups is not None:
                about.groups.close()


@contextlib.contextmanager
def running(
    options: Options, link: uplink.Uplink, clock: clocks.Clock, failed: Callable[[Exception], None] | None = None
) -> Iterator[loop.Agent]:
    """Yield an agent that works in a thread of its own, until the block is left. Raises as `opened`.

    `failed` is called on that thread when a defect has ended it: nobody speaks for the host any more, and whoever starts the
    process anew loses nothing.
    """
    descriptors.claim()
    priority.recover()
    with opened(options, link, clock) as agent:

        def work() -> None:
            try:
                agent.run()
            except Exception as error:
                if failed is None:
                    raise
                failed(error)

        thread = threading.Thread(target=work, name="agent", daemon=True)
        thread.start()
        try:
            yield agent
        finally:
            agent.end()
            thread.join()


def prepare(options: Options, clock: clocks.Clock) -> setup.Setup:
    """Make the folders and find out what this host can do. Raises `errors.UsageError`, `errors.Unavailable`."""
    runs_jobs = account.resolve(options.user)
    if runs_jobs is None and options.user not in ("", account.own_name()):
        _log.warning("jobs do not run as %s but as this agent's own user: only root can run them as another", options.user)
    try:
        where = places.lay_out(options.data, runs_jobs, options.jobs)
    except OSError as error:
        raise errors.Unavailable(
            f"the agent's folders cannot be made: {error.strerror or error}",
            where=str(error.filename or options.data),
            remedy="Check what lies there, its permissions, and free space.",
        ) from error
    keys = options.keys or options.data / "keys"
    return setup.Setup(
        offer=setup.Offer(
            host=options.name or socket.gethostname(),
            pool=options.pool,
            labels=options.labels,
            cpu=options.cpu if options.cpu is not None else 1000 * _cores(),
            memory=options.memory if options.memory is not None else _memory(),
        ),
        places=where,
        secrets=options.secrets or options.data / "secrets",
        account=runs_jobs,
        groups=cgroups.detect(cgroups.name_of(where.data)),
        clock=clock,
        engines={
            model.EngineName.APPLICATION: application.ApplicationEngine(clock),
            model.EngineName.CRIU: containers.engine(where.data / "criu", clock),
        },
        open_store=Opened(keys),
        closes=runs_jobs is not None and process.can_close(),
        pace=options.pace,
        hurry=priority.hurry,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
