"""What an image may make `prepare_restore` do: write plain files below one folder, or be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import store
from reconciler.engines.criu import features, index, messages, restore
from tests.engines import program
from tests.engines.criu import stream

GOOD = {
    "criu/inventory.img": b"inventory",
    "criu/pstree.img": stream.pstree((1, 7)),
    "criu/descriptors.json": b'["/dev/null", "pipe:[1]", "pipe:[2]"]',
    "criu/core-1.img": stream.core(uid=1000),
    "criu/core-7.img": stream.core(newest=1),
    "criu/seccomp.img": stream.seccomp((b"engine's", None, 2), (b"its own.", 0, 0)),
    "criu/tmpfs-dev-73.tar.gz.img": b"tar",
    "container.json": b'{"v": 1, "mounts": [], "network": true}',
    "layer/18446744073709551615": b"content",
    "layer.json": json.dumps(
        {
            "v": 1,
            "deleted": ["etc/motd"],
            "entries": [
                {"path": "", "kind": "directory", "mode": 493, "uid": 0, "gid": 0, "mtime": 1},
                {"path": "a", "kind": "file", "size": 7, "data": "18446744073709551615"},
                {"path": "b", "kind": "link", "target": "/etc/../../anything"},
                {"path": "c", "kind": "file", "same": "a"},
            ],
        }
    ).encode(),
}


def image(**changed: bytes | None) -> program.Memory:
    found = program.Memory(engine="criu")
    for path, content in {**GOOD, **changed}.items():
        if content is not None:
            found.entries_.append(store.FileEntry(path=path, size=len(content)))
            found.content[path] = bytearray(content)
    return found


def prepare(found: program.Memory, tmp_path: Path) -> Path:
    restore.prepare(found, tmp_path / "restore", "/nowhere/criu")  # type: ignore[arg-type]
    return tmp_path / "restore"


def test_a_good_image_is_laid_out_for_root_alone(tmp_path: Path) -> None:
    folder = prepare(image(), tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path, content in GOOD.items():
        assert (folder / path).read_bytes() == content
        assert (folder / path).stat().st_mode & 0o777 == 0o600
    tasks = json.loads((folder / "credentials.json").read_text())["tasks"]
    assert [task["pid"] for task in tasks] == [1, 7]
    assert tasks[0] == {
        "pid": 1,
        "uids": [1000] * 4,
        "gids": [1000] * 4,
        "groups": [4, 24],
        "capabilities": dict.fromkeys(("inheritable", "permitted", "effective", "bounding"), 0xFB) | {"ambient": 0},
        "no_new_privileges": True,
        "seccomp": 2,
        "filter": 0,
        "lsm": "unconfined",
        "process": 1,
    }
    assert [task["process"] for task in tasks] == [1, 1]
    assert json.loads((folder / "filters.json").read_text())["filters"] == [
        {"filter": "ZW5naW5lJ3M=", "prev": None, "flags": 2},
        {"filter": "aXRzIG93bi4=", "prev": 0, "flags": 0},
    ]


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (None, "process 1 has a seccomp filter that the image lacks"),
        (stream.seccomp((b"engine's", None, 0)), "process 7 has a seccomp filter that the image lacks"),
        (stream.seccomp((b"engine's", None, 0), (b"its own.", 1, 0)), "names one that is not before it"),
        (stream.seccomp((b"engine's", 1, 0), (b"its own.", 0, 0)), "names one that is not before it"),
        (b"noise", "not the CRIU image that its name says"),
    ],
)
def test_filters_that_do_not_hang_together(tmp_path: Path, filters: bytes | None, said: str) -> None:
    with pytest.raises(errors.Damaged, match=said):
        prepare(image(**{"criu/seccomp.img": filters}), tmp_path)
    assert not (tmp_path / "restore").exists()


def entry(**changed: object) -> bytes:
    return json.dumps({"deleted": [], "entries": [{"path": "a", "kind": "file", **changed}]}).encode()


def mounts(*entries: tuple[int, str, str]) -> bytes:
    listed = [
        messages.encode([(1, kind)]) + stream.text(7, where.encode()) + (stream.text(18, key.encode()) if key else b"")
        for kind, where, key in entries
    ]
    return messages.image(messages.COMMON_MAGIC, 0x55563928, listed)


USUAL = (
    (17, "/", ""),
    (1, "/proc", ""),
    (3, "/proc/kcore", "/dev/null"),
    (12, "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu"),
    (5, "/dev/shm", "/dev/shm"),
)


def test_the_usual_mounts(tmp_path: Path) -> None:
    record = b'{"v": 1, "mounts": ["/dev/shm"], "network": true}'
    prepare(image(**{"criu/mountpoints-13.img": mounts(*USUAL), "container.json": record}), tmp_path)


def test_a_mount_beyond_a_link_of_the_image(tmp_path: Path) -> None:
    record = b'{"v": 1, "mounts": ["/dev/shm", "/var/run/x"], "links": {"/var/run/x": "/run/x"}, "network": true}'
    linked = mounts(*USUAL, (0, "/run/x", "/run/x"))
    prepare(image(**{"criu/mountpoints-13.img": linked, "container.json": record}), tmp_path)


ROOT = {"path": "", "kind": "directory"}
RECORD = b'{"v": 1, "mounts": ["/a", "/b"], "network": true, "volumes": ["/a", "/b"]}'


def volume(*entries: dict[str, object], **more: object) -> bytes:
    return json.dumps({"v": 1, "deleted": [], "entries": [ROOT, *entries], **more}).encode()


VOLUMES = {
    "container.json": RECORD,
    "volume-0.json": volume({"path": "x", "kind": "file", "size": 4, "data": "5"}),
    "volume-0/5": b"text",
    "volume-1.json": volume(),
}


def test_volumes(tmp_path: Path) -> None:
    folder = prepare(image(**VOLUMES), tmp_path)
    for path, content in VOLUMES.items():
        assert (folder / path).read_bytes() == content


DEEP = b"[" * 100_000 + b"]" * 100_000
CUT = messages.image(messages.COMMON_MAGIC, messages.CORE_MAGIC, [stream.text(5, stream.text(10, stream.text(9, b"\x80")))])
"""Of a thread whose capabilities are packed, and end in the middle of a number."""

HOSTILE_VOLUMES: dict[str, dict[str, bytes | None]] = {
    "one that the record lacks": {"volume-2.json": volume()},
    "a content of one that the record lacks": {"volume-2/5": b"text"},
    "one that only the record has": {"volume-1.json": None},
    "a content without an index": {"volume-1.json": None, "volume-1/5": b"text"},
    "one that is not mounted": {"container.json": RECORD.replace(b'["/a", "/b"], "n', b'["/a"], "n')},
    "one twice": {"container.json": RECORD.replace(b'["/a", "/b"]}', b'["/a", "/a"]}')},
    "in another order": {"container.json": RECORD.replace(b'["/a", "/b"]}', b'["/b", "/a"]}')},
    "a record of another kind": {"container.json": RECORD.replace(b'["/a", "/b"]}', b"5}")},
    "a name with a zero": {"volume-01.json": volume()},
    "a name with many digits": {"volume-100.json": volume()},
    "a name without a number": {"volume-.json": volume()},
    "a way out": {"volume-0/../x": b""},
    "no root": {"volume-1.json": b'{"v": 1, "deleted": [], "entries": []}'},
    "a root that is a link": {"volume-1.json": b'{"deleted": [], "entries": [{"path": "", "kind": "link", "target": "/"}]}'},
    "a deletion": {"volume-1.json": volume(deleted=["x"])},
    "a device": {"volume-1.json": volume({"path": "x", "kind": "device"})},
    "a path that leaves": {"volume-1.json": volume({"path": "../x", "kind": "file"})},
    "a file beyond a link": {
        "volume-1.json": volume({"path": "x", "kind": "link", "target": "/etc"}, {"path": "x/shadow", "kind": "file"})
    },
    "a content of another volume": {"volume-1.json": volume({"path": "x", "kind": "file", "size": 4, "data": "5"})},
}


@pytest.mark.parametrize("changed", HOSTILE_VOLUMES.values(), ids=HOSTILE_VOLUMES)
def test_a_hostile_volume_is_refused_and_leaves_nothing(changed: dict[str, bytes | None], tmp_path: Path) -> None:
    with pytest.raises(errors.Damaged):
        prepare(image(**{**VOLUMES, **changed}), tmp_path)
    assert list(tmp_path.iterdir()) == []


HOSTILE: dict[str, dict[str, bytes | None]] = {
    "a file where none belongs": {"authorized_keys": b""},
    "a configuration of CRIU": {"criu.conf": b"action-script /bin/evil"},
    "a configuration among the images": {"criu/criu.conf": b""},
    "pages of its own": {"criu/pages-65537.img": b""},
    "credentials of its own": {"credentials.json": b"{}"},
    "a folder in the folder": {"criu/a/b.img": b""},
    "a way out": {"layer/../../x": b""},
    "no inventory": {"criu/inventory.img": None},
    "no record": {"container.json": None},
    "a record that is none": {"container.json": b"{}"},
    "files that are none": {"criu/files.img": b"nonsense"},
    "the host's devices": {"criu/mountpoints-13.img": mounts((3, "/dev", ""))},
    "a mount that the record lacks": {"criu/mountpoints-13.img": mounts((0, "/etc/shadow", "/etc/shadow"))},
    "a mount elsewhere than declared": {
        "criu/mountpoints-13.img": mounts((0, "/a", "/b")),
        "container.json": b'{"mounts": ["/b"], "network": true}',
    },
    "a mount of a plugin": {
        "criu/mountpoints-13.img": messages.image(
            messages.COMMON_MAGIC, 0x55563928, [messages.encode([(1, 5), (12, 1)]) + stream.text(7, b"/x")]
        )
    },
    "nobody in it": {"criu/core-1.img": None, "criu/core-7.img": None},
    "a core image that is none": {"criu/core-1.img": b"\x19\x43\x56\x54nonsense"},
    "descriptors that are none": {"criu/descriptors.json": b'{"a": 1}'},
    "pages that are missing": {
        "criu/pagemap-1.img": bytes.fromhex("194356542540085604000000088180040a000000088080808080041001 2004".replace(" ", ""))
    },
    "an index that is none": {"layer.json": b"[]"},
    "a path that leaves": {"layer.json": entry(path="../a")},
    "a path from the root": {"layer.json": entry(path="/a")},
    "a path with an empty part": {"layer.json": entry(path="x//a")},
    "a deletion that leaves": {"layer.json": b'{"deleted": [".."], "entries": []}'},
    "a file in no folder": {"layer.json": entry(path="b/a")},
    "a device": {"layer.json": entry(kind="device")},
    "a content that is missing": {"layer.json": entry(data="5")},
    "a content elsewhere": {"layer.json": entry(data="../container.json")},
    "a link to nothing": {"layer.json": entry(same="z")},
    "a negative owner": {"layer.json": entry(uid=-1)},
    "an index nested without end": {"layer.json": DEEP},
    "a record nested without end": {"container.json": DEEP},
    "descriptors nested without end": {"criu/descriptors.json": DEEP},
    "a core image with numbers that are cut short": {"criu/core-1.img": CUT},
}


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_image_is_refused_and_leaves_nothing(changed: dict[str, bytes | None], tmp_path: Path) -> None:
    with pytest.raises(errors.Damaged):
        prepare(image(**changed), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["directory", "symlink"])
def test_only_plain_files(kind: str, tmp_path: Path) -> None:
    found = image()
    found.entries_.append(store.FileEntry(path="layer/5", kind=kind, link="/etc"))
    with pytest.raises(errors.Damaged):
        prepare(found, tmp_path)


def test_another_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.Refused, match="application"):
        prepare(program.Memory(), tmp_path)


def test_another_processor_is_refused(tmp_path: Path) -> None:
    criu = tmp_path / "criu"
    criu.write_text('#!/bin/sh\n[ "$1" = cpuinfo ] && exit 1\n')
    criu.chmod(0o700)
    with pytest.raises(errors.Refused, match="processor"):
        restore.prepare(image(**{"criu/cpuinfo.img": b"x"}), tmp_path / "restore", str(criu))  # type: ignore[arg-type]
    assert not (tmp_path / "restore").exists()


def test_a_criu_that_is_not_there_says_nothing_about_the_processor(tmp_path: Path) -> None:
    """It is tried again: an upgrade may be putting another one in its place."""
    with pytest.raises(errors.Unavailable, match="gone does not run"):
        restore.prepare(image(**{"criu/cpuinfo.img": b"x"}), tmp_path / "restore", str(tmp_path / "gone"))  # type: ignore[arg-type]
    assert not (tmp_path / "restore").exists()


def test_a_processor_that_lacks_what_the_program_may_use_is_refused_by_name(tmp_path: Path) -> None:
    criu = tmp_path / "criu"
    criu.write_text("#!/bin/sh\nexit 0\n")  # says yes to everything: our own comparison knows more than criu's
    criu.chmod(0o700)
    found, here = image(**{"criu/cpuinfo.img": stream.CPUINFO}), features.decode(stream.CPUINFO)
    with pytest.raises(errors.Refused, match=r"lacks .* may use: avx512f, avx512dq"):
        restore.prepare(found, tmp_path / "restore", str(criu), here.replace("9:f1af0b39", "9:f1ac0b39"))  # type: ignore[arg-type]
    assert not (tmp_path / "restore").exists()
    restore.prepare(found, tmp_path / "restore", str(criu), here.replace("9:f1af0b39", "9:ffffffff"))  # type: ignore[arg-type]
    assert (tmp_path / "restore").exists()


def test_damage_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def broken(path: str) -> object:
        raise errors.Damaged(f"flipped in {path}")

    found = image()
    reading: Callable[[str], object] = broken
    found.extents = reading  # type: ignore[method-assign, assignment]
    with pytest.raises(errors.Damaged, match="flipped"):
        prepare(found, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "restore").mkdir()
    (tmp_path / "restore" / "mine").touch()
    with pytest.raises(errors.Unavailable):
        prepare(image(), tmp_path)
    assert (tmp_path / "restore" / "mine").exists()


def test_the_root_itself_is_an_entry() -> None:
    index.check(b'{"deleted": [], "entries": [{"path": "", "kind": "directory"}]}', "layer.json", ())
