"""containerd's config.toml: one line changed in its text, whatever stands around it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from agent.install import containerd, edits, installing, tomltext, versions
from reconciler import errors
from tests.agent.install.tree import Tree

CONFIG = containerd.CONFIG
OPTIONS = installing.Options(engines=("containerd",))

DEBIAN = """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"  # of the distribution
      conf_dir = "/etc/cni/net.d"
"""

FULL = """\
# kept by hand
version = 3

[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'runc'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'   # the usual one
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      # let systemd do it
      SystemdCgroup = true
      BinaryName = ''   # none

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
"""

WITHOUT_A_NAME = FULL.replace("      BinaryName = ''   # none\n", "")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def name(tree: Tree, version: int) -> str:
    document = tomllib.loads(tree.read(CONFIG) or "")
    return str(
        tomltext.at(
            document, ("plugins", containerd.SECTIONS[version], "containerd", "runtimes", "runc", "options", "BinaryName")
        )
    )


@pytest.mark.parametrize(
    ("config", "version"), [(DEBIAN, 2), (FULL, 3), (WITHOUT_A_NAME, 3), ("version = 2", 2), ("version = 3\r\n", 3)]
)
def test_both_versions_get_the_name_and_nothing_else_changes(tree: Tree, config: str, version: int) -> None:
    tree.containerd_engine(config)
    done = installing.install(tree, OPTIONS)
    assert name(tree, version) == f"{versions.FOLDER}/{done.version}/perdure-runc"
    before = config.splitlines()
    after = (tree.read(CONFIG) or "").splitlines()
    gone = [line for line in before if line not in after]
    assert gone == [line for line in before if "BinaryName" in line]
    installing.uninstall(tree, OPTIONS)
    assert (tree.root / CONFIG.lstrip("/")).read_bytes() == config.encode()
    assert tree.read(CONFIG + edits.ORIGINAL) is None


def test_a_comment_behind_the_value_stays(tree: Tree) -> None:
    tree.containerd_engine(FULL)
    installing.install(tree, OPTIONS)
    line = next(line for line in (tree.read(CONFIG) or "").splitlines() if "BinaryName" in line)
    assert line.startswith('      BinaryName = "/usr/local/lib/perdure/')
    assert line.endswith("   # none")


@pytest.mark.parametrize(("release", "version"), [("1.7.24", 2), ("v2.1.9", 3)])
def test_without_a_file_one_of_the_right_version_is_made(tree: Tree, release: str, version: int) -> None:
    tree.containerd_engine(None, release)
    done = installing.install(tree, OPTIONS)
    assert tomllib.loads(tree.read(CONFIG) or "")["version"] == version
    assert name(tree, version) == f"{versions.FOLDER}/{done.version}/perdure-runc"
    installing.uninstall(tree, OPTIONS)
    assert tree.read(CONFIG) is None


REFUSED = {
    "a name that is none": (FULL.replace("BinaryName = ''", "BinaryName = 3"), "written in a way"),
    "no TOML": ("version = = 2\n", "not valid TOML"),
    "version 1": ("[plugins.cri]\n", "of version 1"),
    "CRI switched off": ('version = 2\ndisabled_plugins = ["cri"]\n', "CRI plugin is switched off"),
    "another default": (
        'version = 3\n[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "nvidia"\n',
        "the default runtime is 'nvidia'",
    ),
    "another kind of runc": (
        FULL.replace("'io.containerd.runc.v2'", "'io.containerd.runsc.v1'"),
        "io.containerd.runsc.v1",
    ),
    "another program": (FULL.replace("BinaryName = ''", "BinaryName = '/usr/bin/crun'"), "BinaryName is /usr/bin/crun"),
    "written inline": (
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]\nrunc = {runtime_type = ''}\n",
        "written in a way",
    ),
}


@pytest.mark.parametrize(("config", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_taken_is_refused_and_nothing_changed(tree: Tree, config: str, said: str) -> None:
    tree.containerd_engine(config)
    before = tree.state()
    with pytest.raises((errors.Refused, errors.InvalidInput)) as caught:
        installing.install(tree, OPTIONS)
    assert said in caught.value.message
    assert (caught.value.where, bool(caught.value.remedy)) == (CONFIG, True)
    assert tree.state() == before


def test_an_import_that_overrides_the_name_is_found(tree: Tree) -> None:
    tree.containerd_engine(DEBIAN)
    program = tree.programs["containerd"]

    def overridden(words: list[str]) -> object:
        answer = program(words)
        return type(answer)(status=0, out=answer.out.replace("/perdure-runc", "/other-runc"))

    tree.programs["containerd"] = overridden  # type: ignore[assignment]
    before = tree.state()
    with pytest.raises(errors.Refused, match="something overrides BinaryName"):
        installing.install(tree, OPTIONS)
    assert tree.state() == before


def test_what_others_changed_in_between_stays(tree: Tree) -> None:
    tree.containerd_engine(DEBIAN)
    installing.install(tree, OPTIONS)
    tree.write(CONFIG, "# changed\n" + (tree.read(CONFIG) or ""))
    installing.uninstall(tree, OPTIONS)
    assert (tree.read(CONFIG) or "").startswith("# changed\nversion = 2\n")
    assert name(tree, 2) == "/usr/sbin/runc"


def test_it_is_restarted_only_where_that_is_asked_for(tree: Tree) -> None:
    tree.containerd_engine(DEBIAN)
    tree.process(600, ["/usr/bin/containerd"])
    (tree.root / "run/systemd/system").mkdir(parents=True)
    tree.programs["systemctl"] = lambda words: tree.run(["true"]).__class__(status=0)
    tree.listening.add(containerd.SOCKET)
    assert "at its next start: systemctl restart containerd" in installing.install(tree, OPTIONS).said[0]
    assert not any(words[0] == "systemctl" for words in tree.ran)
    done = installing.install(tree, installing.Options(engines=("containerd",), restart=True))
    assert done.said == ("containerd: containerd was restarted, containers go on",)


def test_the_containerd_of_dockerd_is_left_alone(tree: Tree) -> None:
    tree.docker_engine("{}")
    tree.containerd_engine(None)
    (tree.root / "usr/sbin/kubelet").unlink()
    tree.process(501, ["containerd", "--config", "/var/run/docker/containerd/containerd.toml"])
    done = installing.install(tree, installing.Options())
    assert [said.partition(":")[0] for said in done.said] == ["docker"]
    assert containerd.config(tree) == CONFIG


def test_what_was_installed_by_name_is_uninstalled_without(tree: Tree) -> None:
    tree.docker_engine("{}")
    tree.containerd_engine(DEBIAN)
    (tree.root / "usr/sbin/kubelet").unlink()
    before = tree.state()
    installing.install(tree, OPTIONS)
    installing.uninstall(tree, installing.Options())
    assert tree.state() == before


def test_the_file_of_a_running_containerd_is_the_one(tree: Tree) -> None:
    tree.containerd_engine(None)
    tree.write("/srv/containerd.toml", "version = 2\n")
    tree.process(600, ["/usr/bin/containerd", "--config=/srv/containerd.toml"])
    installing.install(tree, OPTIONS)
    assert "perdure-runc" in (tree.read("/srv/containerd.toml") or "")
    assert tree.read(CONFIG) is None
