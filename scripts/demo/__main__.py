"""`make demo`: the whole idea on one machine, in about a minute and a half, and every claim checked at the end.

A desired-state repository, the loop, and three hosts whose agents join over mutual TLS on loopback. One host is then lost
for good. Nothing outside a temporary folder is touched, and nothing needs root, an account or a network.
"""

from __future__ import annotations

import os
import signal
import sys

import claims
import console
import machines
import scenes

from reconciler.seams import ending


def main() -> int:
    """Play the scenes, check the claims, clean up. 0: everything held; 1: something did not; 130: interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    stage = console.Stage()
    site = machines.Site(stage)
    keep, stop = (os.environ.get(name, "") not in ("", "0") for name in ("KEEP", "STOP"))
    if stop:
        return _stopped(site, stage)
    kept = False
    try:
        story = _played(site, stage)
        held = claims.check(story, stage)
        kept = keep and held
        if kept:
            scenes.encore(site, stage, story.lost_host)
        return 0 if held else 1
    except KeyboardInterrupt:
        stage.say("interrupted: stopping what was started")
        return 130
    except BrokenPipeError:
        return ending.silenced()
    except (machines.DemoError, TimeoutError) as error:
        stage.fail(str(error))
        stage.say(f"the logs are in {site.logs}")
        return 1
    finally:
        stage.close()
        if not kept:
            site.close(forget=sys.exc_info()[0] is None and not stage.failed)


def _stopped(site: machines.Site, stage: console.Stage) -> int:
    """End a demo that was kept."""
    try:
        stage.say(f"ended, and {site.root} removed" if site.end() else "no demo is running")
    except machines.DemoError as error:
        stage.fail(str(error))
        return 1
    return 0


def _played(site: machines.Site, stage: console.Stage) -> scenes.Story:
    """Play the scenes; on a machine so busy that the training was over too early, once more with a longer one."""
    site.prepare()
    try:
        return scenes.play(site, stage)
    except machines.TooShortError:
        stage.say("train finished before everything was shown, for this machine is busy: once more, with a longer training")
        site.close(forget=True)
        site.prepare(machines.TRAINS * 3)
        return scenes.play(site, stage)


def _interrupt(_signum: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
