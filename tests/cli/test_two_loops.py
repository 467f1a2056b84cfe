"""Two loops for one repository on one machine, each with data and an agent of its own: both call their host by one name."""

from __future__ import annotations

from tests.cli.site import Site
from tests.conditions import eventually


def test_what_the_other_has_begun_is_not_taken_for_gone(site: Site) -> None:
    site.job("first")
    site.push()
    site.start("reconcile")
    site.run("wait", "first", "--for", "running", "--timeout", "60s")
    site.start("reconcile", "--data", str(site.root / "elsewhere"), name="other")
    eventually(lambda: "reconciling" in site.output("other"), timeout=60, message=lambda: site.output("other"))
    site.job("second")
    site.push()
    site.run("wait", "second", "--for", "running", "--timeout", "60s")
    site.gate.touch()
    for name in ("first", "second"):
        site.run("wait", name, "--for", "finished", "--timeout", "60s")
        [run] = site.json("history", name)["runs"]
        assert [each["ending"] for each in run["attempts"]] == ["finished"], site.output("other")
