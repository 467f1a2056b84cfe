"""Install, upgrade and uninstall on a machine that is a directory tree."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from agent.install import edits, hostfile, installing, versions
from agent.install.machine import Answer
from reconciler import data, errors
from tests.agent.install.tree import DAEMON_JSON, Tree

OPTIONS = installing.Options()
COMMENTED = """\
{
  "log-driver": "json-file",
  "data-root": "/srv/docker"
}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def criu(tree: Tree, content: str) -> None:
    """Another criu makes another version, as another release of ours would."""
    tree.write("/usr/sbin/criu", content, 0o755)


def test_dockerd_is_given_the_interposer(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    done = installing.install(tree, OPTIONS)
    program = f"/usr/local/lib/perdure/{done.version}/perdure-runc"
    assert json.loads(tree.read(DAEMON_JSON) or "") == {
        "log-driver": "json-file",
        "data-root": "/srv/docker",
        "runtimes": {"perdure": {"path": program}},
        "default-runtime": "perdure",
    }
    assert tree.info == {"DefaultRuntime": "perdure", "Runtimes": {"runc": {"path": "runc"}, "perdure": {"path": program}}}
    assert (tree.reloads, done.said) == ([500], ("docker: dockerd was reloaded, containers go on",))
    assert os.access(tree.root / program.lstrip("/"), os.X_OK)
    assert tree.read(f"/usr/local/lib/perdure/{done.version}/criu") == "\x7fELF criu"
    assert versions.linked(tree) == program
    assert tree.read(DAEMON_JSON + edits.ORIGINAL) == COMMENTED


def test_the_indentation_of_the_file_stays(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    installing.install(tree, OPTIONS)
    assert '\n  "log-driver": "json-file",\n' in (tree.read(DAEMON_JSON) or "")


def test_the_host_file_says_what_the_interposer_needs(tree: Tree) -> None:
    tree.docker_engine()
    done = installing.install(tree, installing.Options(arch_roots=("/mnt/shared",)))
    found = hostfile.load(tree)
    assert found is not None
    assert (found.runc, found.criu) == ("/usr/sbin/runc", f"/usr/local/lib/perdure/{done.version}/criu")
    assert found.arch.roots == ("/mnt/shared",)
    assert tree.read(hostfile.PROGRAMS) == f"{found.runc}\n{found.python}\n"


def test_the_host_file_is_what_its_schema_says(tree: Tree) -> None:
    tree.docker_engine()
    installing.install(tree, OPTIONS)
    schema = json.loads((resources.files(data) / "schemas" / "host" / "runtime.json").read_text())
    written = json.loads(tree.read(hostfile.PATH) or "")
    jsonschema.Draft202012Validator(schema).validate(written)
    members = {
        **schema["properties"],
        **{f"arch.{name}": each for name, each in schema["properties"]["arch"]["properties"].items()},
    }
    defaults = {name: member["default"] for name, member in members.items() if "default" in member}
    assert defaults == {name: written["arch"][name.partition(".")[2]] if "." in name else written[name] for name in defaults}


def test_what_a_person_has_set_in_the_host_file_stays(tree: Tree) -> None:
    tree.docker_engine()
    installing.install(tree, installing.Options(arch_roots=("/mnt/shared",)))
    told = json.loads(tree.read(hostfile.PATH) or "")
    tree.write(hostfile.PATH, json.dumps({**told, "deadline": 5}))
    installing.install(tree, OPTIONS)
    found = hostfile.load(tree)
    assert found is not None
    assert (found.deadline, found.arch.roots) == (5.0, ("/mnt/shared",))


def test_doing_it_again_changes_nothing(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    tree.containerd_engine("version = 2\n")
    tree.podman_engine()
    installing.install(tree, OPTIONS)
    before = tree.state()
    done = installing.install(tree, OPTIONS)
    assert (tree.state(), done.diff, done.put) == (before, "", False)


@pytest.mark.parametrize("config", [None, COMMENTED, "{}", '{"default-runtime": "runc", "runtimes": {"kata": {"path": "/k"}}}'])
def test_uninstalling_gives_every_byte_back(tree: Tree, config: str | None) -> None:
    tree.docker_engine(config)
    tree.containerd_engine("# mine\nversion = 3\n")
    tree.podman_engine()
    before = tree.state()
    installing.install(tree, OPTIONS)
    assert tree.state() != before
    installing.uninstall(tree, OPTIONS)
    assert tree.state() == before
    assert tree.info is not None
    assert tree.info["DefaultRuntime"] == "runc"
    assert installing.uninstall(tree, OPTIONS).diff == ""


def test_what_others_changed_in_between_stays(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    installing.install(tree, OPTIONS)
    changed = {**json.loads(tree.read(DAEMON_JSON) or ""), "debug": True}
    tree.write(DAEMON_JSON, json.dumps(changed))
    installing.uninstall(tree, OPTIONS)
    assert json.loads(tree.read(DAEMON_JSON) or "") == {"log-driver": "json-file", "data-root": "/srv/docker", "debug": True}
    assert tree.read(DAEMON_JSON + edits.ORIGINAL) is None


def test_a_dry_run_shows_the_difference_and_changes_nothing(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    before = tree.state()
    done = installing.install(tree, installing.Options(dry_run=True))
    assert tree.state() == before
    assert tree.reloads == []
    assert f"--- a{DAEMON_JSON}\n+++ b{DAEMON_JSON}\n" in done.diff
    assert '+  "default-runtime": "perdure"\n' in done.diff
    assert f"--- /dev/null\n+++ b{hostfile.PATH}\n" in done.diff
    assert edits.ORIGINAL not in done.diff


def test_what_a_dry_run_shows_is_what_is_done(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    shown = installing.install(tree, installing.Options(dry_run=True))
    done = installing.install(tree, OPTIONS)
    assert (shown.version, shown.diff) == (done.version, done.diff)
    again = installing.uninstall(tree, installing.Options(dry_run=True))
    assert '-  "default-runtime": "perdure"\n' in again.diff


REFUSED = {
    "invalid JSON": ('{"debug": true,}', "not valid JSON"),
    "no object": ("[]", "not a JSON object"),
    "a key twice": ('{"debug": true, "debug": false}', "'debug' is there twice"),
    "another default": ('{"default-runtime": "nvidia"}', "the default-runtime is 'nvidia'"),
    "userns-remap": ('{"userns-remap": "default"}', "userns-remap is on (default)"),
    "a foreign perdure": ('{"runtimes": {"perdure": {"path": "/opt/other"}}}', "another runtime is called 'perdure'"),
    "runtimes of a wrong kind": ('{"runtimes": []}', "`runtimes` must be an object"),
}


@pytest.mark.parametrize(("config", "said"), REFUSED.values(), ids=REFUSED)
def test_a_daemon_json_that_cannot_be_taken_is_one_clear_error(tree: Tree, config: str, said: str) -> None:
    tree.docker_engine(config, running=False)
    before = tree.state()
    with pytest.raises((errors.Refused, errors.InvalidInput)) as caught:
        installing.install(tree, OPTIONS)
    assert said in caught.value.message
    assert caught.value.where.startswith(DAEMON_JSON)
    assert caught.value.remedy
    assert tree.state() == before


def test_where_json_is_wrong_is_told(tree: Tree) -> None:
    tree.docker_engine('{\n  "debug": true,\n}', running=False)
    with pytest.raises(errors.InvalidInput) as caught:
        installing.install(tree, OPTIONS)
    assert caught.value.where == f"{DAEMON_JSON}:3:1"


@pytest.mark.parametrize("flag", ["--default-runtime=runc", "--add-runtime=x=/y", "--userns-remap=default"])
def test_flags_of_a_running_dockerd_count_too(tree: Tree, flag: str) -> None:
    tree.docker_engine("{}", flags=[flag])
    with pytest.raises(errors.Refused) as caught:
        installing.install(tree, OPTIONS)
    assert flag.partition("=")[0].lstrip("-") in caught.value.message
    assert tree.read(DAEMON_JSON) == "{}"


def test_another_config_file_is_found(tree: Tree) -> None:
    tree.docker_engine(flags=["--config-file", "/srv/docker.json"])
    tree.write("/srv/docker.json", '{"debug": true}')
    tree.on_reload = lambda pid: tree.info.update(json.loads(info(tree))) if tree.info is not None else None
    installing.install(tree, OPTIONS)
    assert "default-runtime" in (tree.read("/srv/docker.json") or "")
    assert tree.read(DAEMON_JSON) is None


def info(tree: Tree) -> str:
    found = json.loads(tree.read("/srv/docker.json") or "{}")
    return json.dumps({"DefaultRuntime": found.get("default-runtime", "runc"), "Runtimes": found.get("runtimes", {})})


def test_docker_from_a_snap_is_refused(tree: Tree) -> None:
    (tree.root / "var/snap/docker").mkdir(parents=True)
    with pytest.raises(errors.Refused, match="a snap"):
        installing.install(tree, OPTIONS)


def test_rootless_docker_is_refused(tree: Tree) -> None:
    tree.process(700, ["dockerd", "--rootless"], user=1000)
    with pytest.raises(errors.Refused, match="rootless"):
        installing.install(tree, OPTIONS)


def test_a_dockerd_in_a_container_is_not_the_machines_own(tree: Tree) -> None:
    tree.docker_engine("{}")
    (tree.root / "run/docker.pid").unlink()
    tree.process(400, ["dockerd", "--userns-remap=default"], numbering=2)
    installing.install(tree, OPTIONS)
    assert tree.reloads == [500]


def test_what_dockerd_does_not_accept_is_not_put_in_place(tree: Tree) -> None:
    tree.docker_engine('{"unknown": 1}')
    tree.programs["dockerd"] = lambda words: Answer(status=1, err="the following directives don't match any option: unknown")
    before = tree.state()
    with pytest.raises(errors.Refused, match="don't match any option: unknown"):
        installing.install(tree, OPTIONS)
    assert tree.state() == before


def test_a_dockerd_that_does_not_use_it_gets_its_own_back(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    tree.podman_engine()
    tree.on_reload = lambda pid: None  # deaf
    before = tree.state()
    with pytest.raises(errors.Unavailable, match="does not use its new configuration"):
        installing.install(tree, OPTIONS)
    assert tree.state() == before
    assert len(tree.reloads) > 1, "it is told again"


def test_a_dockerd_that_took_it_forgets_it_when_another_engine_fails(tree: Tree) -> None:
    tree.docker_engine(COMMENTED)
    tree.podman_engine()
    tree.programs["podman"] = lambda words: Answer(status=125, err="Error: invalid config")
    before = tree.state()
    with pytest.raises(errors.Unavailable, match="invalid config"):
        installing.install(tree, OPTIONS)
    assert tree.state() == before
    assert tree.info is not None
    assert (tree.info["DefaultRuntime"], tree.info["Runtimes"]["perdure"]) == ("runc", {"path": "/usr/sbin/runc"})


def test_one_engine_that_refuses_leaves_the_others_untouched(tree: Tree) -> None:
    tree.docker_engine("{}")
    tree.containerd_engine('version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\ndefault_runtime_name = "kata"\n')
    before = tree.state()
    with pytest.raises(errors.Refused, match="kata"):
        installing.install(tree, OPTIONS)
    assert tree.state() == before


def test_a_restart_that_fails_is_taken_back(tree: Tree) -> None:
    tree.docker_engine("{}")
    (tree.root / "run/systemd/system").mkdir(parents=True)
    tree.programs["systemctl"] = lambda words: Answer(status=1, err="Job for docker.service failed")
    before = tree.state()
    with pytest.raises(errors.Unavailable, match=r"Job for docker\.service failed"):
        installing.install(tree, installing.Options(restart=True))
    assert tree.state() == before


def test_engines_that_do_not_run_are_configured_for_their_start(tree: Tree) -> None:
    tree.docker_engine("{}", running=False)
    assert installing.install(tree, OPTIONS).said == (
        "docker: dockerd does not run: it reads its configuration when it starts",
    )


def test_a_link_to_daemon_json_stays_a_link(tree: Tree) -> None:
    tree.docker_engine("{}")
    place = tree.root / DAEMON_JSON.lstrip("/")
    target = tree.write("/srv/managed.json", "{}")
    place.unlink()
    place.symlink_to(target)
    installing.install(tree, OPTIONS)
    assert place.is_symlink()
    assert "perdure" in target.read_text()


# What is asked before anything is done.


def test_only_root_can(tree: Tree) -> None:
    tree.user = 1000
    for act in (installing.install, installing.upgrade, installing.uninstall):
        with pytest.raises(errors.UsageError, match="only root"):
            act(tree, OPTIONS)


@pytest.mark.parametrize(
    ("spoil", "said", "remedy"),
    [
        ("no runc", "runc is not there", "apt-get install -y runc"),
        ("old runc", "version 1.0.3; 1.1 is the oldest", "runc"),
        ("runc without criu", "built without checkpoints", "runc"),
        ("ARCH's wrapper", "a script that stands in front of the real runc", "install.py --uninstall"),
        ("no criu", "criu is not there", "apt-get install -y criu"),
        ("old criu", "version 3.17.1; 4.0 is the oldest", "criu"),
        ("kernel", "Timerfd is not supported", "perdure doctor --host"),
        ("no engine", "no container engine was found", "apt-get install -y docker.io"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_changed(tree: Tree, spoil: str, said: str, remedy: str) -> None:
    tree.docker_engine("{}", running=False)
    match spoil:
        case "no runc":
            (tree.root / "usr/sbin/runc").unlink()
        case "old runc":
            tree.programs["runc"] = lambda words: Answer(status=0, out="runc version 1.0.3\n")
        case "runc without criu":
            tree.programs["runc"] = lambda words: Answer(status=0, out="{}" if words[0] == "features" else "runc version 1.2.0")
        case "ARCH's wrapper":
            tree.write("/usr/sbin/runc", "#!/bin/sh\nexec python3 -m src.main\n", 0o755)
        case "no criu":
            (tree.root / "usr/sbin/criu").unlink()
        case "old criu":
            tree.programs["criu"] = lambda words: Answer(status=0, out="Version: 3.17.1\n")
        case "kernel":
            tree.programs["criu"] = lambda words: (
                Answer(status=0, out="Version: 4.1.1\n")
                if "--version" in words
                else Answer(status=1, err="Error (criu/cr-check.c:89): Timerfd is not supported\n")
            )
        case "no engine":
            (tree.root / "usr/sbin/dockerd").unlink()
    before = tree.state()
    with pytest.raises(errors.Refused) as caught:
        installing.install(tree, OPTIONS)
    assert said in caught.value.message
    assert remedy in caught.value.remedy
    assert tree.state() == before


def test_an_engine_that_is_not_there_is_refused(tree: Tree) -> None:
    tree.docker_engine("{}")
    with pytest.raises(errors.Refused, match="there is no podman here"):
        installing.install(tree, installing.Options(engines=("podman",)))


@pytest.mark.parametrize("loose", [0o666, 0o664])
def test_a_host_file_that_others_can_write_is_refused(tree: Tree, loose: int) -> None:
    tree.docker_engine("{}")
    installing.install(tree, OPTIONS)
    (tree.root / hostfile.PATH.lstrip("/")).chmod(loose)
    with pytest.raises(errors.Damaged, match="others can write it"):
        hostfile.load(tree)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a valid HostFile"),
        ({"deadline": -1}, "deadline: -1 is not between 0 and 600 seconds"),
        ({"deadline": "20"}, "deadline"),
        ({"arch": {"roots": ["mnt/shared"], "namespaces": ["moby"]}}, "arch.roots: 'mnt/shared' is no absolute path"),
        ({"arch": {"roots": ["/mnt/shared/"], "namespaces": ["moby"]}}, "arch.roots: '/mnt/shared/' is no absolute path"),
        ({"arch": {"roots": ["/"], "namespaces": ["moby"]}}, "arch.roots: '/' is no absolute path below /"),
        ({"runc": "runc"}, "runc: 'runc' is no absolute path"),
    ],
)
def test_what_is_wrong_in_the_host_file_is_told_with_a_way_out_that_works(
    tree: Tree, content: str | dict[str, object], said: str
) -> None:
    tree.docker_engine("{}")
    installing.install(tree, OPTIONS)
    told = json.loads(tree.read(hostfile.PATH) or "")
    tree.write(hostfile.PATH, content if isinstance(content, str) else json.dumps({**told, **content}))
    for act in (installing.install, installing.uninstall):
        with pytest.raises(errors.Damaged) as caught:
            act(tree, OPTIONS)
        assert said in caught.value.message
        assert f"rm {hostfile.PATH}; perdure-agent install" in caught.value.remedy
    (tree.root / hostfile.PATH.lstrip("/")).unlink()
    installing.install(tree, OPTIONS)
    assert json.loads(tree.read(hostfile.PATH) or "") == told


@pytest.mark.parametrize("root", ["mnt/shared", "/", "//", "", "/mnt/../etc", "/mnt//shared", "."])
def test_a_root_that_is_no_folder_below_the_top_is_refused(tree: Tree, root: str) -> None:
    tree.docker_engine("{}")
    before = tree.state()
    with pytest.raises(errors.UsageError, match="is no folder below /"):
        installing.install(tree, installing.Options(arch_roots=("/mnt/shared", root)))
    assert tree.state() == before


def test_a_slash_at_the_end_of_a_root_means_nothing(tree: Tree) -> None:
    tree.docker_engine("{}")
    installing.install(tree, installing.Options(arch_roots=("/mnt/shared/", "/mnt/shared")))
    found = hostfile.load(tree)
    assert found is not None
    assert found.arch.roots == ("/mnt/shared",)


def test_a_host_file_of_another_version_is_refused(tree: Tree) -> None:
    tree.docker_engine("{}")
    installing.install(tree, OPTIONS)
    told = json.loads(tree.read(hostfile.PATH) or "")
    tree.write(hostfile.PATH, json.dumps({**told, "version": 2}))
    with pytest.raises(errors.Damaged, match="of version 2"):
        installing.install(tree, OPTIONS)
