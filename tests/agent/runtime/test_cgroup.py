"""Where a container's group lies, in the words of each engine, and that a restore is told on cgroup v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.runtime import cgroup, create
from agent.runtime.call import Refused


@pytest.mark.parametrize(
    ("asked", "lies"),
    [
        ("/docker/c0ffee", "/docker/c0ffee"),
        ("/kubepods/burstable/pod1/c0ffee", "/kubepods/burstable/pod1/c0ffee"),
        ("/docker//c0ffee/", "/docker/c0ffee"),
        ("system.slice:docker:c0ffee", "/system.slice/docker-c0ffee.scope"),
        ("machine.slice:libpod:c0ffee", "/machine.slice/libpod-c0ffee.scope"),
        (":docker:c0ffee", "/system.slice/docker-c0ffee.scope"),
        ("-.slice:docker:c0ffee", "/docker-c0ffee.scope"),
        ("system.slice::c0ffee", "/system.slice/c0ffee.scope"),
        (
            "kubepods-burstable-pod1_2.slice:cri-containerd:c0ffee",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-c0ffee.scope",
        ),
        ("below/the/runtimes/own", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_where_it_lies(asked: str | None, lies: str) -> None:
    assert cgroup.path({"linux": {"cgroupsPath": asked}}) == lies
    assert cgroup.path({}) == ""


@pytest.mark.parametrize("asked", ["/docker/a b", "/docker/a\nroot /", "/docker/#a", "/docker/'a'"])
def test_a_name_that_would_be_other_settings_is_refused(asked: str) -> None:
    with pytest.raises(Refused, match="control group"):
        cgroup.path({"linux": {"cgroupsPath": asked}})


def test_what_a_restore_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"linux": {"cgroupsPath": "/docker/c0ffee"}}
    (tmp_path / "unified").touch()
    monkeypatch.setattr(cgroup, "UNIFIED", str(tmp_path / "unified"))
    assert create.settings(config, str(tmp_path)) == "cgroup-root /docker/c0ffee\n"
    assert create.settings({}, str(tmp_path)) == ""
    (tmp_path / "criu.conf").write_text("tcp-close\n")
    assert create.settings(config, str(tmp_path)) == "cgroup-root /docker/c0ffee\ntcp-close\n"
    monkeypatch.setattr(cgroup, "UNIFIED", str(tmp_path / "missing"))
    assert create.settings(config, str(tmp_path)) == "mntns-compat-mode\ntcp-close\n"
