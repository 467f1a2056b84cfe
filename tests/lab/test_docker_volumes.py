"""Jobs whose image declares volumes, on hosts with dockerd: what is in them goes along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import conditions
from tests.lab import fleet, keeping
from tests.lab.lab import Lab
from tests.lab.test_docker_jobs import counted_on, joins, started


@pytest.fixture
def site(lab: Lab) -> Iterator[fleet.Fleet]:
    made = fleet.Fleet(lab)
    yield made
    made.close()


def volumes(host: fleet.Host) -> dict[str, str]:
    """Where the only container of a host has volumes, and what they are called."""
    (one,) = host.containers()
    return {mount["Destination"]: mount["Name"] for mount in one["Mounts"] if mount["Type"] == "volume"}


def test_its_volumes_move_with_it(site: fleet.Fleet) -> None:
    """From host to host and back: by a checkpoint that ends it, and by one after which it had gone on."""
    first, second = site.host("alpha"), site.host("beta")
    keeping.load(site, first, second)

    def manifest(placement: str) -> str:
        extra = f"placement: {{{placement}}}\nonLost: replace"
        return fleet.job("keeps", keeping.PROGRAM, image=keeping.TAG, checkpoint="{interval: 3s}", extra=extra)

    site.commit({"keeps.yaml": manifest("node: alpha")})
    site.until("keeps", started(1))
    nonce = counted_on(site, "keeps", 20, 1)[0][0]
    assert sorted(volumes(first)) == ["/cache", "/data"]
    site.commit({"keeps.yaml": manifest("node: beta")})
    run = site.until("keeps", started(2))
    assert [each["host"] for each in run["attempts"]] == ["alpha", "beta"]
    joins(site, "keeps", 1)
    assert sorted(volumes(second)) == ["/cache", "/data"]
    conditions.eventually(lambda: first.docker.cli("volume", "ls", "--quiet") == "", 60)  # nothing of it stays behind
    site.until("keeps", lambda run: sum(each["attempt"] == 2 for each in run["checkpoints"]) >= 2)
    site.commit({"keeps.yaml": manifest("")})
    second.node.kill()
    run = site.until("keeps", started(3), timeout=240)
    assert [each["ending"] for each in run["attempts"][:2]] == ["checkpointed", "lost"]
    assert {each for each, _ in counted_on(site, "keeps", 0, 3)} == {nonce}
    site.until("keeps", lambda run: any(each["attempt"] == 3 for each in run["checkpoints"]))
    assert sorted(volumes(first)) == ["/cache", "/data"]


def test_a_volume_that_is_somebody_elses_too_is_not_captured(site: fleet.Fleet) -> None:
    """It is refused with the reason, the Job runs on, and is saved once it has the volume for itself."""
    host = site.host("alpha")
    keeping.load(site, host)
    site.commit({"keeps.yaml": fleet.job("keeps", keeping.PROGRAM, image=keeping.TAG, checkpoint="{interval: 2s}")})
    site.until("keeps", started(1))
    counted_on(site, "keeps", 5, 1)
    (one,) = host.containers()
    host.docker.cli("run", "--detach", "--name", "other", "--volumes-from", one["Id"], keeping.TAG, "sleep", "1000")
    conditions.eventually(
        lambda: "is mounted in another container, too" in site.perdure("why", "keeps", check=False),
        60,
        interval=0.5,
        message=lambda: site.told("keeps"),
    )
    before = len(site.run("keeps")["checkpoints"])
    counted_on(site, "keeps", 50, 1)
    host.docker.cli("rm", "--force", "other")
    site.until("keeps", lambda run: len(run["checkpoints"]) > before)
