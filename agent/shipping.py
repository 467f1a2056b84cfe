"""The thread that sends output to the stores: a slow store must not slow the loop."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from agent import attempt, controller, journal, kept, setup, workers
from reconciler import errors
from reconciler.core import spec


def ship(
    about: setup.Setup,
    book: journal.Journal,
    control: controller.Controller,
    attempts: Mapping[spec.AttemptRef, attempt.Attempt],
    ending: threading.Event,
) -> None:
    """Send what has come, again and again, until `ending` is set. What stands in the way is a condition of the attempt.

    What is kept of attempts that are gone is trimmed now and then, too.
    """
    trimmed = about.clock.monotonic()
    while not ending.is_set():
        if about.clock.monotonic() >= trimmed + kept.EVERY:
            trimmed = about.clock.monotonic()
            kept.trim(about.places.kept, about.clock.now())
        for ref, entry in list(book.entries.items()):
            one = attempts.get(ref)
            if one is None or entry.stage not in (journal.Stage.STARTED, journal.Stage.ENDED):
                continue
            task = workers.Task(lambda entry=entry: control.ship(entry))  # type: ignore[misc]
            task.run()
            try:
                task.result()
                one.conditions.pop("log", None)
            except errors.PerdureError as error:
                one.conditions["log"] = f"its output does not reach the store: {error.line}"
        about.clock.wait(about.pace.ship, ending)
