"""Which images fit which manifests, in pairs: one that does, and the same with one thing more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.runtime import compare
from agent.runtime.call import Refused

CHOWN, SETGID, SETUID, ADMIN = (1 << compare.CAPABILITIES.index(name) for name in ("CHOWN", "SETGID", "SETUID", "SYS_ADMIN"))
NAMES = {CHOWN: "CAP_CHOWN", SETGID: "CAP_SETGID", SETUID: "CAP_SETUID", ADMIN: "CAP_SYS_ADMIN"}

Task = dict[str, Any]


def _config(*capabilities: int, uid: int = 0, groups: tuple[int, ...] = (), ambient: int = 0, **process: Any) -> dict[str, Any]:
    held = {"bounding": [NAMES[one] for one in capabilities], "ambient": [NAMES[ambient]] if ambient else []}
    user = {"uid": uid, "gid": uid, "additionalGids": list(groups)}
    return {"process": {"user": user, "capabilities": held, **process}, "linux": {}, "mounts": []}


def _task(uid: int = 0, held: int = 0, bounding: int = 0, **changes: Any) -> Task:
    capabilities = {"bounding": bounding or held, "permitted": held, "effective": held, "inheritable": 0}
    return {
        "pid": 7,
        "uids": [uid] * 4,
        "gids": [uid] * 4,
        "groups": [],
        "capabilities": capabilities,
        "no_new_privileges": False,
        "seccomp": 0,
        "lsm": "",
        **changes,
    }


@pytest.mark.parametrize(
    ("config", "good", "bad", "says"),
    [
        (_config(CHOWN), _task(held=CHOWN), _task(held=CHOWN | ADMIN), "has further capabilities"),
        (_config(CHOWN), _task(), _task(bounding=ADMIN), "has further capabilities"),
        (_config(CHOWN, uid=5), _task(5), _task(0), "runs as another user"),
        (_config(SETUID, SETGID, uid=5), _task(5), _task(6), "runs as another user"),
        (_config(SETUID, SETGID), _task(999), _task(999, bounding=ADMIN), "has further capabilities"),
        (_config(SETUID), _task(0, uids=[0, 9, 0, 0]), _task(9), "runs in another group"),
        (_config(CHOWN), _task(0), _task(0, uids=[0, 0, 9, 0]), "runs as another user"),
        (_config(uid=5, groups=(7,)), _task(5, groups=[5, 7]), _task(5, groups=[5, 8]), "is in further groups"),
        (_config(SETUID, uid=5, ambient=SETUID), _task(5, uids=[9] * 4, held=SETUID), _task(6), "runs in another group"),
        (
            _config(ADMIN, uid=5, noNewPrivileges=True),
            _task(5, bounding=ADMIN, no_new_privileges=True),
            _task(5, held=ADMIN, no_new_privileges=True),
            "another user than root",
        ),
        (_config(noNewPrivileges=True), _task(no_new_privileges=True), _task(), "may gain privileges"),
    ],
)
def test_who_a_process_is(config: dict[str, Any], good: Task, bad: Task, says: str, tmp_path: Path) -> None:
    _check(tmp_path, config, good)
    _check(tmp_path, config, _task(good["uids"][0], **{**good, "no_new_privileges": True}))
    with pytest.raises(Refused, match=says):
        _check(tmp_path, config, good, bad)


def test_a_filter_that_the_manifest_wants_is_there(tmp_path: Path) -> None:
    config = _config()
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO"}
    _check(tmp_path, config, _task(seccomp=2))
    for mode in (0, 1):
        with pytest.raises(Refused, match="no seccomp filter"):
            _check(tmp_path, config, _task(seccomp=mode))


@pytest.mark.parametrize(
    ("flags", "owner", "given"),
    [((1, 1), 7, True), ((1, 3), 7, True), ((0, 1), 7, False), ((1, 0), 7, False), ((1, 1), 9, False), ((1, 1), None, False)],
)
def test_a_thread_has_the_filters_that_the_kernel_shares_out(
    flags: tuple[int, int], owner: int | None, given: bool, tmp_path: Path
) -> None:
    """CRIU writes those of a process whose threads have the same for its first thread alone."""
    config = _config()
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO"}
    kept = [{"filter": "", "prev": prev, "flags": each} for prev, each in zip((None, 0), flags, strict=True)]
    (tmp_path / "filters.json").write_text(json.dumps({"v": 1, "filters": kept}))
    first = _task(seccomp=2, filter=1, process=7)
    other = _task(pid=8, filter=-1, **({} if owner is None else {"process": owner}))
    _check(tmp_path, config, first)
    if given:
        _check(tmp_path, config, first, other)
    else:
        with pytest.raises(Refused, match="its process 8 has no seccomp filter"):
            _check(tmp_path, config, first, other)


def test_an_apparmor_profile_is_the_same_where_the_kernel_has_apparmor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(apparmorProfile="docker-default")
    _check(tmp_path, config, _task())
    (tmp_path / "enabled").write_text("Y\n")
    monkeypatch.setattr(compare, "APPARMOR", str(tmp_path / "enabled"))
    _check(tmp_path, config, _task(lsm="docker-default"))
    _check(tmp_path, _config(apparmorProfile="unconfined"), _task(lsm="unconfined"))
    for lsm in ("", "unconfined", "other"):
        with pytest.raises(Refused, match="another AppArmor profile"):
            _check(tmp_path, config, _task(lsm=lsm))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mounts": ["/data"]}, "a mount at /data that the manifest lacks"),
        ({"seccomp": "aa"}, "another seccomp profile"),
        ({"network": True}, "host's network"),
        ({"devices": ["/dev/kvm"]}, "other devices"),
    ],
)
def test_what_a_container_has(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        _check(tmp_path, _config(), _task(), image=change)


VOLUME = {"destination": "/data", "type": "bind", "source": f"/var/lib/docker/volumes/{'a' * 64}/_data"}


@pytest.mark.parametrize(
    ("kept", "own", "says"),
    [
        (["/data"], ["a" * 64], ""),
        ([], [], ""),
        (["/data"], [], "it has a volume at /data that the container lacks"),
        (["/data"], ["b" * 64], "it has a volume at /data that the container lacks"),
        ([], ["a" * 64], "the container has a volume at /data that it lacks"),
        (["/etc"], ["a" * 64], "it has a volume at /etc that the container lacks; the container has a volume at /data"),
        (["/data", "/data"], ["a" * 64], "not understood"),
        ("/data", ["a" * 64], "not understood"),
        ([5], ["a" * 64], "not understood"),
    ],
)
def test_volumes_are_those_that_the_engine_has_made(tmp_path: Path, kept: Any, own: list[str], says: str) -> None:
    config = {**_config(), "mounts": [VOLUME]}
    (tmp_path / "container.json").write_text(json.dumps({**compare.described(config), "volumes": kept}))
    (tmp_path / "credentials.json").write_text(json.dumps({"v": 1, "tasks": [_task()]}))
    if says:
        with pytest.raises(Refused, match=says):
            compare.check(config, str(tmp_path), own)
    else:
        compare.check(config, str(tmp_path), own)


def test_mounts_of_engines_come_and_go(tmp_path: Path) -> None:
    _check(tmp_path, _config(), _task(), image={"mounts": ["/run/.containerenv", "/etc/hosts", "/dev/shm/"]})


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        _check(tmp_path, _config(uid=5), _task(), image={"network": True, "mounts": ["/data"]})
    assert str(caught.value).count(";") >= 3


@pytest.mark.parametrize("name", ["container.json", "credentials.json"])
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tasks": []}', '{"tasks": [{}]}', None])
def test_what_is_not_understood_is_refused(tmp_path: Path, name: str, content: str | None) -> None:
    _check(tmp_path, _config(), _task())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(Refused):
        compare.check(_config(), str(tmp_path))


def _check(folder: Path, config: dict[str, Any], *tasks: Task, image: dict[str, Any] | None = None) -> None:
    (folder / "container.json").write_text(json.dumps({**compare.described(config), **(image or {})}))
    (folder / "credentials.json").write_text(json.dumps({"v": 1, "tasks": tasks}))
    compare.check(config, str(folder))
