"""Two loops on one machine, each with data and an agent of its own: both call their host by one name."""

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
        site.run("wait", name, "--for", "finished", "--timeout", "240s", timeout=300.0)
        [run] = site.json("history", name)["runs"]
        assert [each["ending"] for each in run["attempts"]] == ["finished"], site.output("other")


def test_equal_jobs_of_two_repositories_with_one_instance_name_and_one_store(site: Site) -> None:
    """They are one run by its id. The second is told why it does not begin, and the first keeps its work."""
    site.job()
    site.push()
    other = site.root / "other.git"
    site.git("clone", "--quiet", "--bare", str(site.repository), str(other))
    there = ("--repo", str(other), "--data", str(site.root / "elsewhere"))
    site.start("reconcile")
    site.run("wait", "count", "--for", "running", "--timeout", "60s")
    site.start("reconcile", *there, name="other")
    site.run("wait", "count", *there, "--timeout", "60s", code=1)
    assert "another repository, whose loop has the same instance name" in site.run("why", "count", *there).stdout
    assert site.run("checkpoints", *there).stdout == "No checkpoint has been taken.\n"
    site.gate.touch()
    site.run("wait", "count", "--for", "finished", "--timeout", "60s")
    [run] = site.json("history", "count")["runs"]
    assert [each["ending"] for each in run["attempts"]] == ["finished"]
