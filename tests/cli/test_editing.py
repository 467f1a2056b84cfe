"""Changes by commit: what is pushed, to where, as whom; what is refused; and that nobody else's work is touched."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import signal
import subprocess
from pathlib import Path

import pytest

from reconciler.cli import main
from reconciler.source.repository import RepositorySource
from tests import conftest
from tests.cli.site import CHANGING, Site
from tests.conditions import eventually

TENANTS = """
apiVersion: perdure.dev/v1alpha1
kind: Job
metadata: {{name: count}}
spec:
  tenant: {tenant}
  target: machines
  workload: {{command: ["true"]}}
"""


def manifest(site: Site, name: str = "jobs/count.yaml") -> str:
    """Return a manifest as the server has it."""
    return site.git("show", f"main:{name}", cwd=site.repository)


def declared(site: Site) -> str:
    site.job()
    site.push()
    return manifest(site)


def commits(site: Site, branch: str = "main") -> list[str]:
    return site.git("log", "--format=%s", branch, cwd=site.repository).splitlines()


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file of a clone, its index and refs among them."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def hook(site: Site, text: str, name: str = "pre-receive") -> None:
    path = site.repository / "hooks" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_change_is_one_commit_by_the_person_with_one_field(site: Site) -> None:
    before = declared(site)
    said = site.run("suspend", "count", "--reason", "the GPU: needed", "--until", "2999-01-01T08:00:00+01:00").stdout
    assert manifest(site) == before + (
        '  state: Suspended\n  suspend:\n    reason: "the GPU: needed"\n    until: "2999-01-01T07:00:00Z"\n'
    )
    [commit, author, subject, body] = site.git(
        "log", "-1", "--format=%h%n%an <%ae>%n%s%n%b", "--abbrev=12", "main", cwd=site.repository
    ).split("\n", 3)
    assert author == f"{conftest.IDENTITY} <{conftest.MAIL}>"
    assert (subject, body.strip()) == ("Suspend count", "By `perdure suspend`.")
    assert said == f"Pushed {commit} to main.\n`perdure why count` tells what becomes of it.\n"
    assert len(commits(site)) == 2


def test_what_is_declared_that_way_already_is_no_commit(site: Site) -> None:
    declared(site)
    for command in (
        ("run", "count"),
        ("resume", "count"),
        ("restore", "count", "--from", "latest"),
        ("move", "count", "--to", ""),
    ):
        assert site.run(*command).stdout == "Nothing to change: count is declared that way already.\n"
    answer = site.json("run", "count")
    assert (answer["changed"], answer["commit"], answer["patch"]) == (False, None, "")
    assert len(commits(site)) == 1
    site.run("suspend", "count")
    assert site.json("suspend", "count")["changed"] is False
    assert site.json("suspend", "count", "--owner", "me")["changed"] is True
    assert "  suspend:\n    owner: me\n" in manifest(site)
    assert site.json("suspend", "count", "--owner", "")["changed"] is True
    assert "owner" not in manifest(site)


def test_there_and_back_again(site: Site) -> None:
    before = declared(site)
    for command in (("suspend", "count", "--reason", "x"), ("resume", "count"), ("stop", "count"), ("run", "count")):
        site.run(*command)
    assert manifest(site) == f"{before}  state: Running\n"
    site.run("move", "count", "--to", "here")
    assert "  placement:\n    node: here\n" in manifest(site)
    site.run("move", "count", "--to", "")
    assert manifest(site) == f"{before}  state: Running\n"
    site.run("stop", "count")
    assert "`perdure run count` lets it go on" in site.run("resume", "count", code=2).stderr


def test_a_rehearsal_prints_a_patch_that_git_takes(site: Site) -> None:
    site.job()
    site.write('jobs/a "b" ü/more.yaml', TENANTS.format(tenant="other").rstrip("\n"))
    site.push()
    for command in (["suspend", "default/count"], ["stop", "other/count"], ["checkpoint", "other/count", "--name", "c"]):
        site.git("checkout", "--quiet", "--", ".")
        patch = site.run(*command, "--dry-run").stdout
        assert len(commits(site)) == 1
        subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=site.work, check=True, timeout=60)
        changed = everything(site.work)
        site.git("checkout", "--quiet", "--", ".")
        site.git("clean", "-qfd")
        site.run(*command)
        site.git("pull", "--quiet", "origin", "main")
        after = everything(site.work)
        names = [name for name in after if not name.startswith(".git/")]
        assert {name: after[name][0] for name in names} == {
            name: data for name, (data, _) in changed.items() if not name.startswith(".git/")
        }
        site.git("push", "--quiet", "--force", "origin", "HEAD~1:main")
        site.git("reset", "--quiet", "--hard", "HEAD~1")
        for ref in ("refs/perdure/source/heads/main", "refs/perdure/seen/heads/main"):
            site.git("update-ref", "-d", ref, cwd=next(site.data.glob("repo-*.git")))


def test_the_persons_own_clone_is_left_alone(site: Site) -> None:
    declared(site)
    site.write("jobs/count.yaml", "half written: [\n")
    site.write("staged", "x")
    site.git("add", "staged")
    before = everything(site.work)
    flags = ["--config", str(site.config), "--data", str(site.data), "--repo", str(site.work)]
    done = subprocess.run(
        [*site.arguments()[:3], "suspend", "count", *flags],
        capture_output=True,
        text=True,
        cwd=site.work,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "state: Suspended" in manifest(site)
    assert everything(site.work) == before


def test_inside_a_clone_its_origin_is_meant_from_any_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    declared(site)
    monkeypatch.chdir(site.work / "jobs")
    assert main.run(["suspend", "count", "--data", str(site.data)]) == 0
    assert "state: Suspended" in manifest(site)
    assert "Suspended" not in (site.work / "jobs" / "count.yaml").read_text()


@pytest.mark.parametrize("verb", sorted(CHANGING))
def test_completion_offers_jobs(
    site: Site, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    site.data.mkdir()
    (site.data / "names").write_text("count\ncopy\nother\n")
    monkeypatch.setenv("_PERDURE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"perdure --data {site.data} {verb} co")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert main.run([]) == 0
    assert capfd.readouterr().out.split() == ["plain,count", "plain,copy"]


def test_line_endings_and_byte_order_mark_stay(site: Site) -> None:
    site.job()
    path = site.work / "jobs" / "count.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    site.push()
    site.run("suspend", "count", "--reason", "x")
    site.run("checkpoint", "count", "--name", "one")
    after = subprocess.run(
        ["git", "show", "main:jobs/count.yaml"], cwd=site.repository, capture_output=True, check=True, timeout=60
    ).stdout
    assert after.startswith(path.read_bytes())
    assert after.endswith(b"\r\n  state: Suspended\r\n  suspend:\r\n    reason: x\r\n")
    assert after.count(b"\n") == after.count(b"\r\n")


def test_documents_of_one_file_are_told_apart(site: Site) -> None:
    job = TENANTS.format(tenant="default").strip()
    other = "# another program's\nkind: Thing\nbase: &base {a: 1}\nmore: {<<: *base, tag: !x y}\n"
    site.write("jobs/all.yaml", f"{other}---\n{job} # first\n---\n{job.replace('name: count', 'name: second')}\n...\n")
    site.push()
    site.run("stop", "second")
    after = manifest(site, "jobs/all.yaml")
    assert after == f"{other}---\n{job} # first\n---\n{job.replace('name: count', 'name: second')}\n  state: Stopped\n...\n"
    site.run("stop", "count")
    assert f"{job} # first\n  state: Stopped\n---\n" in manifest(site, "jobs/all.yaml")


def test_a_text_that_cannot_be_edited_is_refused_with_what_to_write(site: Site) -> None:
    shape = (
        TENANTS.format(tenant="default").partition("spec:")[0] + "spec:\n  target: &t machines\n  workload: {command: [*t]}\n"
    )
    site.write("jobs/count.yaml", shape)
    site.write("target.yaml", (site.work / "platform.yaml").read_text().partition("---")[0].replace("machines", "second"))
    site.push()
    refused = site.run("move", "count", "--target", "second", code=2).stderr
    assert "jobs/count.yaml:2:1: this file has a shape that cannot be edited automatically" in refused
    assert 'set spec.target: "second" by hand and push' in refused
    site.run("suspend", "count")  # what the anchor does not concern
    assert manifest(site) == f"{shape}  state: Suspended\n"


def test_a_change_that_would_not_be_valid_is_pushed_by_nobody(site: Site) -> None:
    site.job()
    site.job("bad", more="replicas: many")
    site.push()
    refused = site.run("move", "count", "--target", "machine", code=2)
    assert "jobs/count.yaml:" in refused.stderr
    assert "did you mean machines?" in refused.stderr
    assert "Nothing was changed." in refused.stderr
    assert "replicas" not in refused.stderr, "only what the change brings counts"
    assert refused.stdout == ""
    refused = site.run("checkpoint", "count", "--reason", "x" * 501, code=2)
    assert "500 characters" in refused.stderr
    assert len(commits(site)) == 1
    assert "jobs/bad.yaml:" in site.run("stop", "bad", code=2).stderr
    site.run("stop", "count")


def test_a_revision_that_is_refused_as_a_whole_is_mended_first(site: Site) -> None:
    site.job()
    site.write("more.yaml", "apiVersion: perdure.dev/v1alpha1\nkind: Target\nmetadata: {name: other}\nspec: {host: {}}\n")
    site.push()
    refused = site.run("stop", "count", code=2).stderr
    assert "not applied at all" in refused
    assert "more.yaml:4:" in refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stop", "cuont"], "Did you mean count?"),
        (["stop", "count[1]"], "leave out […]"),
        (["suspend", "count", "--until", "tomorrow"], "'tomorrow' is not a moment"),
        (["suspend", "count", "--until", "9999-12-31T23:59:59-01:00"], "'9999-12-31T23:59:59-01:00' is not a moment"),
        (["suspend", "count", "--until", "2020-01-01T00:00:00Z"], "2020-01-01T00:00:00Z is over"),
        (["restore", "count", "--from", "feed"], "no checkpoint of this job begins so"),
        (["restore", "count", "--from", ""], "no checkpoint of this job begins so"),
        (["move", "count"], "Give --to, --pool or --target."),
        (["move", "count", "--target", ""], "spec.target"),
        (["checkpoint", "count", "--name", "../x"], "'../x' cannot be the name of a Checkpoint"),
        (["checkpoint", "count", "--name", "X"], "lower-case letters"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_told_and_changes_nothing(site: Site, arguments: list[str], said: str) -> None:
    declared(site)
    refused = site.run(*arguments, code=2)
    assert said in refused.stderr
    assert refused.stdout == ""
    assert len(commits(site)) == 1


def test_jobs_of_two_tenants_are_told_apart(site: Site) -> None:
    for tenant in ("blue", "red"):
        site.write(f"jobs/{tenant}.yaml", TENANTS.format(tenant=tenant))
    site.push()
    assert "is a job of several tenants: blue/count, red/count" in site.run("stop", "count", code=2).stderr
    answer = site.json("checkpoint", "red/count", "--name", "before")
    assert (answer["tenant"], answer["job"]) == ("red", "count")
    assert "  job: red/count\n" in manifest(site, "jobs/checkpoint-before.yaml")
    site.run("stop", "red/count")
    assert "Stopped" in manifest(site, "jobs/red.yaml")
    assert "Stopped" not in manifest(site, "jobs/blue.yaml")
    assert commits(site)[0] == "Stop red/count"
    site.run("validate", str(site.work))


def test_checkpoints_have_names_of_their_own_and_lie_where_they_are_read(site: Site) -> None:
    long = "x" * 62 + "y"
    site.job(long)
    site.job()
    site.write("perdure.yaml", "paths: [platform.yaml, jobs/count.yaml, jobs/" + long + ".yaml]\n")
    site.push()
    for name in (long, "count", "count"):
        site.run("checkpoint", name, "--reason", "before: the upgrade")
    assert "kind: Checkpoint" in manifest(site)
    assert manifest(site).count("---") == 2
    site.git("pull", "--quiet", "origin", "main")
    assert "3 Checkpoints" in site.run("validate", str(site.work)).stdout
    site.run("checkpoint", "count", "--name", "mine")
    assert "declared a second time" in site.run("checkpoint", "count", "--name", "mine", code=2).stderr


def test_what_perdureignore_hides_is_no_place_for_a_checkpoint(site: Site) -> None:
    site.job()
    site.write(".perdureignore", "checkpoint-*\n")
    site.push()
    site.run("checkpoint", "count", "--stop")
    assert "  stop: true\n" in manifest(site)


def test_run_takes_out_the_stop_of_a_checkpoint(site: Site) -> None:
    declared(site)
    site.run("checkpoint", "count", "--name", "park", "--stop")
    assert "stop: true" in manifest(site, "jobs/checkpoint-park.yaml")
    assert site.json("run", "count")["changed"] is True
    assert "stop" not in manifest(site, "jobs/checkpoint-park.yaml")


def test_rerun_begins_anew(site: Site) -> None:
    site.job(more="state: Suspended\nsuspend: {reason: x}\nrestore: {from: 'sha256:" + "0" * 64 + "'}")
    site.push()
    site.run("rerun", "count", "--as", "second")
    after = manifest(site)
    assert "  rerun: second\n" in after
    assert "  state: Running\n" in after
    assert "suspend" not in after
    assert "restore" not in after
    site.run("rerun", "count")
    assert "  rerun: at-20" in manifest(site)


def test_a_protected_branch_gets_a_topic_branch(site: Site) -> None:
    declared(site)
    hook(
        site,
        'while read old new ref; do case $ref in refs/heads/main) echo "main: reviewed changes only" >&2; exit 1;; esac; done',
    )
    answer = site.json("suspend", "count")
    assert answer["branch"] == "main"
    assert "reviewed changes only" in answer["detail"]
    assert answer["topic"].startswith("perdure/suspend-count-")
    assert commits(site, answer["topic"])[0] == "Suspend count"
    assert len(commits(site)) == 1
    said = site.run("stop", "count").stdout
    topic = next(name.strip() for name in site.git("branch", cwd=site.repository).splitlines() if "stop" in name)
    assert f"gh pr create --head {topic} --base main --fill" in said
    assert "state: Stopped" in site.git("show", f"{topic}:jobs/count.yaml", cwd=site.repository)


def test_where_nothing_may_be_pushed_the_patch_is_the_way(site: Site) -> None:
    declared(site)
    hook(site, "echo no >&2; exit 1")
    refused = site.run("suspend", "count", code=2).stderr
    assert "the server refuses to take a commit on main" in refused
    assert "`--dry-run` prints the patch" in refused


def test_a_branch_that_is_checked_out_is_refused_with_the_remedy(site: Site) -> None:
    declared(site)
    site.repository = site.work
    before = everything(site.work)
    bare = ["--config", str(site.config), "--data", str(site.data), "--repo", str(site.work)]
    site.git("remote", "remove", "origin")
    before = everything(site.work)
    done = subprocess.run(
        [*site.arguments()[:3], "suspend", "count", *bare], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "checked out" in done.stderr
    assert "git clone --bare" in done.stderr
    assert "git apply --index" in done.stderr
    after = everything(site.work)
    assert {name: data for name, data in after.items() if not name.startswith(".git/objects/")} == {
        name: data for name, data in before.items() if not name.startswith(".git/objects/")
    }
    site.git("checkout", "--quiet", "-b", "elsewhere")
    site.run("suspend", "count")
    assert "state: Suspended" in site.git("show", "main:jobs/count.yaml")


def test_a_tag_or_a_commit_cannot_be_changed(site: Site) -> None:
    declared(site)
    site.git("tag", "v1")
    site.git("push", "--quiet", "origin", "v1")
    commit = site.git("rev-parse", "HEAD").strip()
    for ref in ("v1", commit):
        refused = site.run("stop", "count", "--ref", ref, code=2).stderr
        assert f"{ref} is a tag or a commit" in refused
    assert site.git("branch", "--format=%(refname)", cwd=site.repository).split() == ["refs/heads/main"]
    site.run("stop", "count", "--ref", "refs/heads/main")
    assert commits(site)[0] == "Stop count"


def test_a_working_folder_is_edited_in_place(site: Site) -> None:
    site.job()
    folder = site.root / "folder"
    (site.work / ".git").rename(site.root / "aside")
    site.work.rename(folder)
    site.repository = folder
    assert "Written into the working folder." in site.run("suspend", "count").stdout
    assert (folder / "jobs" / "count.yaml").read_text().endswith("  state: Suspended\n")
    site.run("checkpoint", "count", "--name", "one")
    assert (folder / "jobs" / "checkpoint-one.yaml").exists()


def test_a_push_in_between_is_built_upon(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    declared(site)
    propose = RepositorySource.propose
    others = iter(["first", "second"])

    def late(self: RepositorySource, edit, base):  # type: ignore[no-untyped-def]
        if name := next(others, ""):
            site.job(name)
            path = site.work / "jobs" / "count.yaml"
            path.write_text(f"# {name}\n{path.read_text()}")
            site.push(name)
        return propose(self, edit, base)

    monkeypatch.setattr(RepositorySource, "propose", late)
    site.run("suspend", "count")
    assert commits(site) == ["Suspend count", "second", "first", "change"]
    assert manifest(site).startswith("# second\n# first\n")
    assert manifest(site).endswith("  state: Suspended\n")


def test_eight_editors_at_once_lose_no_line(site: Site) -> None:
    names = [f"job-{number}" for number in range(8)]
    one = "".join(
        f"---\n{TENANTS.format(tenant='default').replace('name: count', f'name: {name}').strip()}\n" for name in names
    )
    site.write("jobs/all.yaml", one)
    site.push()
    site.run("status")

    def edit(name: str) -> subprocess.CompletedProcess[str]:
        data = site.data if name < "job-4" else site.root / f"data-{name}"  # four share a mirror, four have their own
        return subprocess.run(
            [*site.arguments("stop", name), "--data", str(data)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=site.root,
            check=False,
        )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(edit, names))
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * 8
    after = manifest(site, "jobs/all.yaml")
    assert after.count("  state: Stopped\n") == 8
    assert after.replace("  state: Stopped\n", "") == one
    assert len(commits(site)) == 9


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_ctrl_c_in_the_middle_of_a_push_leaves_nothing_half_done(site: Site, number: int, code: int) -> None:
    declared(site)
    hook(site, f"touch {site.root}/pushing; while test ! -e {site.gate}; do sleep 0.05; done")
    process = subprocess.Popen(
        site.arguments("suspend", "count"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=site.root
    )
    eventually((site.root / "pushing").exists, timeout=60)
    process.send_signal(number)
    said, complained = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, b"")
    assert b"Traceback" not in complained
    assert len(commits(site)) == 1
    eventually(lambda: not _gits(site), message=lambda: f"{_gits(site)} are left")
    site.gate.touch()
    site.run("suspend", "count")
    assert commits(site) == ["Suspend count", "change"]


def _gits(site: Site) -> list[str]:
    """Return the processes of git that work for this repository, and what they have started."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"={site.repository}\0".encode() in (process / "environ").read_bytes():
                left.append((process / "cmdline").read_bytes().decode(errors="replace"))
    return left


def test_what_follows_is_told(site: Site) -> None:
    site.job()
    site.push()
    site.start("reconcile")
    eventually(lambda: site.json("status")["jobs"][0]["reason"] == "Running", timeout=60, interval=0.1)
    assert "keep count, attempt 1 on here (Running)" in site.run("run", "count").stdout
    nowhere = site.run("move", "count", "--to", "nowhere", "--dry-run")
    assert "the next pass would\n-/+ checkpoint count, attempt 1 on here (Moving)" in nowhere.stderr
    assert "no host 'nowhere' is known, and count waits until there is one" in nowhere.stderr
    assert "is known" not in site.run("move", "count", "--to", "here", "--dry-run").stderr
    again = site.json("rerun", "count", "--dry-run")
    [refused] = again["follows"]
    assert (refused["verb"], refused["reason"]) == ("refuse", "ChangeRefused")
    stopped = site.run("stop", "count").stdout
    assert "The next pass would\n  - checkpoint count, attempt 1 on here (Stopping)" in stopped
    eventually(lambda: site.phase() == "stopped", timeout=60)
    assert json.loads(site.run("run", "count", "-o", "json").stdout)["follows"][0]["verb"] == "restore"
