"""The engine's service: restarted where that was asked for, and waited for."""

from __future__ import annotations

from collections.abc import Callable

from agent.install import machine as machines
from agent.install.machine import Machine
from reconciler import errors
from reconciler.seams import clock

PAUSE = 0.2


def restart(machine: Machine, unit: str) -> None:
    """Restart a service of the system. Raises `errors.Unavailable` with what the service manager said."""
    systemd = machines.at(machine, "/run/systemd/system").is_dir()
    words = ["systemctl", "restart", unit] if systemd else ["service", unit, "restart"]
    answer = machine.run(words, 120.0)
    if answer.status != 0:
        raise errors.Unavailable(
            f"{unit} does not start again: {answer.said}",
            where=" ".join(words),
            remedy=f"journalctl -u {unit}" if systemd else "Restart it yourself, and leave --restart away.",
        )


def until(machine: Machine, used: Callable[[], bool], name: str, remedy: str) -> None:
    """Wait until an engine uses its configuration. Raises `errors.Unavailable` when it does not."""
    time = clock.System()
    end = time.monotonic() + machine.patience
    while not used():
        if time.monotonic() >= end:
            raise errors.Unavailable(
                f"{name} does not use its new configuration within {machine.patience:g} seconds",
                remedy=f"Its log tells why: {remedy}",
            )
        time.wait(PAUSE)
