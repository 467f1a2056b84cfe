"""The prologue: whatever is no container of ours reaches the real runtime unchanged, with nothing of ours in between."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.agent.runtime.place import ATTEMPT, CONTAINER, SILENT, Place

# A word of a command line: whatever is no NUL, with the shell's own characters likely.
WORDS = st.text(st.one_of(st.sampled_from(" \"'$`\\*?;&|<>-=\n\tab"), st.characters(codec="utf-8", exclude_characters="\0")))
GLOBAL = st.one_of(
    st.sampled_from([["--debug"], ["--systemd-cgroup"], ["-debug=true"], ["--rootless", "auto"], ["--log-format=json"]]),
    st.tuples(st.sampled_from(["--log", "-log", "--criu"]), WORDS.filter(lambda word: "/" not in word)).map(list),
)
SUBCOMMANDS = st.sampled_from(
    ["create", "start", "kill", "delete", "state", "exec", "run", "list", "update", "pause", "events", "features", "checkpoint"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(GLOBAL, max_size=3), subcommand=SUBCOMMANDS, after=st.lists(WORDS, max_size=5))
def test_every_call_for_another_container_reaches_the_real_runtime_unchanged(
    place: Place, before: list[list[str]], subcommand: str, after: list[str]
) -> None:
    place.config()
    place.record.unlink(missing_ok=True)
    argv = [*(word for words in before for word in words), subcommand, *after]
    done = place.exactly(*argv, cwd=place.bundle)
    assert [call["argv"] for call in place.calls()] == [argv], done.stderr


def test_unmarked_containers_need_no_python_no_library_no_agent_and_no_configuration(place: Place) -> None:
    place.config()
    place.library.unlink()
    (place.etc / "programs").write_text(f"{place.runc}\n/nowhere/python\n")
    (place.etc / "runtime.json").unlink()
    for words in (["create", "--bundle", str(place.bundle)], ["start"], ["kill"], ["delete"]):
        assert place.call(*words, CONTAINER).returncode == 0
    assert place.subcommands() == ["create", "start", "kill", "delete"]


def test_without_the_file_of_programs_the_runtime_in_path_is_meant(place: Place) -> None:
    (place.etc / "programs").unlink()
    environment = {"PATH": f"{place.runc.parent}:{os.defpath}", "PERDURE_ETC": str(place.etc), "PERDURE_RUN": str(place.run)}
    assert os.spawnve(os.P_WAIT, place.program, [str(place.program), "--root", str(place.root), "state", "x"], environment) == 0
    assert place.calls()[0]["argv"][-2:] == ["state", "x"]


def test_without_any_runtime_it_says_what_to_do(place: Place) -> None:
    (place.etc / "programs").write_text("/nowhere/runc\n/usr/bin/python3\n")
    done = place.call("state", "x")
    assert done.returncode == 127
    assert "perdure-agent install" in done.stderr


def test_status_environment_directory_and_descriptors_are_the_callers(place: Place, tmp_path: Path) -> None:
    place.config()
    with (tmp_path / "kept").open("w") as kept:
        os.set_inheritable(kept.fileno(), True)
        done = place.call(
            "create",
            "--preserve-fds",
            "1",
            CONTAINER,
            cwd=place.bundle,
            pass_fds=(kept.fileno(),),
            fails="create",
            status=37,
        )
        number = str(kept.fileno())
    (call,) = place.calls()
    assert done.returncode == 37
    assert call["fds"][number] == str(tmp_path / "kept")
    assert set(call["fds"]) - {"0", "1", "2", number} == set()
    assert call["cwd"] == str(place.bundle)
    assert call["env"]["FAKE_FAILS"] == "create"
    assert "LC_ALL" not in call["env"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--bundle", "BUNDLE"],
        ["-bundle", "BUNDLE"],
        ["--bundle=BUNDLE"],
        ["-b", "BUNDLE"],
        ["-b=BUNDLE"],
        ["--pid-file", "create", "--no-pivot", "--bundle", "BUNDLE", "--"],
        ["--console-socket", "/s", "--preserve-fds=3", "-b", "BUNDLE"],
    ],
    ids=" ".join,
)
def test_the_bundle_is_found_however_it_is_given(place: Place, flags: list[str]) -> None:
    place.config(f"PERDURE_ATTEMPT={ATTEMPT}")
    done = place.call("create", *(word.replace("BUNDLE", str(place.bundle)) for word in flags), CONTAINER)
    assert done.returncode == 1
    assert SILENT in place.told()
    assert place.calls() == []


@pytest.mark.parametrize(
    "argv",
    [
        ["--root", "ROOT", "create"],
        ["-root=ROOT", "--debug", "create"],
        ["--log-format", "start", "--root=ROOT", "--systemd-cgroup", "--", "create"],
        ["--criu", "create", "--rootless", "kill", "--root", "ROOT", "create"],
    ],
    ids=" ".join,
)
def test_the_subcommand_is_found_as_the_real_runtime_finds_it(place: Place, argv: list[str]) -> None:
    place.config(f"PERDURE_ATTEMPT={ATTEMPT}")
    done = place.exactly(*(word.replace("ROOT", str(place.root)) for word in argv), "-b", str(place.bundle), CONTAINER)
    assert done.returncode == 1
    assert SILENT in done.stderr


@pytest.mark.parametrize("name", ["..", ".", "a/../../b", ""])
def test_a_name_that_is_no_containers_is_the_real_runtimes_to_refuse(place: Place, name: str) -> None:
    (place.run / "containers" / "moby").mkdir(parents=True)
    place.call("delete", name)
    assert place.subcommands() == ["delete"]


@pytest.mark.parametrize("broken", ["python", "library"])
def test_a_marked_container_without_python_does_not_start_from_its_beginning(place: Place, broken: str) -> None:
    place.config(f"PERDURE_ATTEMPT={ATTEMPT}")
    _break(place, broken)
    done = place.create()
    assert done.returncode == 1
    assert place.calls() == []
    assert "perdure-agent install" in place.told()
    assert "perdure-agent install" in done.stderr


@pytest.mark.parametrize("allowed", [True, False])
def test_without_python_variables_of_arch_matter_only_where_a_root_allows_them(place: Place, allowed: bool) -> None:
    if not allowed:
        place.install(arch={"roots": [], "namespaces": ["moby"]})
    place.config("ARCH_ENABLE=1", f"ARCH_CHECKPOINT_HOST_PATH={place.roots}")
    _break(place, "library")
    assert place.create().returncode == (1 if allowed else 0)
    assert place.subcommands() == ([] if allowed else ["create"])


@pytest.mark.parametrize("broken", ["", "python", "library", "interpreter"])
def test_start_kill_and_delete_of_a_marked_container_happen_whatever_is_broken(place: Place, broken: str) -> None:
    place.home.mkdir(parents=True)
    (place.home / "state.json").write_text(f'{{"v": 1, "root": "{place.root}", "attempt": "{ATTEMPT}"}}')
    _break(place, broken)
    for words in (["start", CONTAINER], ["kill", "--all", CONTAINER, "15"], ["kill", CONTAINER, "KILL"], ["delete", CONTAINER]):
        assert place.call(*words).returncode == 0
    assert place.subcommands() == ["start", "kill", "kill", "delete"]
    assert place.home.exists() is bool(broken)


def test_the_start_of_a_restored_container_is_answered_once(place: Place) -> None:
    place.home.mkdir(parents=True)
    (place.home / "restored").touch()
    _break(place, "python")
    assert place.call("start", CONTAINER).returncode == 0
    assert place.calls() == []
    assert place.call("start", CONTAINER, fails="start", status=4).returncode == 4


def test_a_failing_delete_keeps_what_the_next_one_needs(place: Place) -> None:
    place.home.mkdir(parents=True)
    (place.home / "state.json").write_text("{}")
    assert place.call("delete", CONTAINER, fails="delete", status=5).returncode == 5
    assert place.home.exists()


def test_a_host_without_grep_still_tells_marked_from_unmarked(place: Place) -> None:
    tools = place.folder / "tools"
    tools.mkdir()
    for tool in ("readlink", "cat", "rm", "tr"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    environment = {"PATH": str(tools), "PERDURE_ETC": str(place.etc), "PERDURE_RUN": str(place.run)}
    words = ["--root", str(place.root), "create", "--bundle", str(place.bundle)]
    place.config()
    assert os.spawnve(os.P_WAIT, place.program, [str(place.program), *words, "another"], environment) == 0
    place.config(f"PERDURE_ATTEMPT={ATTEMPT}")
    assert os.spawnve(os.P_WAIT, place.program, [str(place.program), *words, CONTAINER], environment) == 1
    assert [call["argv"][-1] for call in place.calls()] == ["another"]


def _break(place: Place, what: str) -> None:
    if what == "library":
        place.library.unlink()
    elif what == "python":
        (place.etc / "programs").write_text(f"{place.runc}\n/nowhere/python\n")
        place.program.write_text(place.program.read_text().replace("command -v python3", "false"))
    elif what == "interpreter":
        interpreter = place.folder / "bin" / "python3"
        interpreter.write_text("#!/bin/sh\nexit 9\n")
        interpreter.chmod(0o755)
        (place.etc / "programs").write_text(f"{place.runc}\n{interpreter}\n")


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh", "mksh", "zsh --emulate sh"])
def test_any_shell_of_a_host_reads_it(place: Place, shell: str) -> None:
    program, *flags = shell.split()
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"this machine has no {program}")
    wrapper = place.folder / "bin" / "sh"
    wrapper.write_text(f'#!/bin/sh\nexec {found} {" ".join(flags)} {place.program}.text "$@"\n')
    wrapper.chmod(0o755)
    place.program.rename(f"{place.program}.text")
    place.program.symlink_to(wrapper)
    words = ["--bundle", str(place.bundle), "a b'c"]
    place.config()
    assert place.call("create", *words, fails="create", status=7).returncode == 7
    place.config(f"PERDURE_ATTEMPT={ATTEMPT}")
    assert place.call("create", "--no-pivot", f"--bundle={place.bundle}", CONTAINER).returncode == 1
    assert SILENT in place.told()
    place.home.mkdir(parents=True)
    (place.home / "restored").touch()
    assert place.call("start", CONTAINER).returncode == 0
    assert place.call("kill", CONTAINER, "KILL").returncode == 0
    assert place.call("delete", CONTAINER).returncode == 0
    assert place.subcommands() == ["create", "kill", "delete"]
    assert place.calls()[0]["argv"][-3:] == words
