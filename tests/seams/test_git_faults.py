"""Each text that git and the forges are known to say means what the table says."""

from __future__ import annotations

import pytest

from reconciler import errors
from reconciler.seams.git import faults
from reconciler.seams.git.faults import Kind

SAID = [
    ("! [rejected] main -> main (fetch first)", Kind.REJECTED),
    ("! [rejected] main -> main (non-fast-forward)", Kind.REJECTED),
    ("error: cannot lock ref 'refs/notes/x': is at 1 but expected 2", Kind.REJECTED),
    ("! [remote rejected] a -> a (incorrect old value provided)", Kind.REJECTED),
    ("! [remote rejected] a -> a (reference already exists)", Kind.REJECTED),
    ("! [remote rejected] a -> a (failed to update ref)", Kind.REJECTED),
    ("! [remote rejected] a -> a (atomic transaction failed)", Kind.REJECTED),
    ("! [remote rejected] a -> a (failed to lock)", Kind.REJECTED),
    ("remote: error: refusing to update checked out branch: refs/heads/main", Kind.CHECKED_OUT),
    ("! [remote rejected] main -> main (pre-receive hook declined)", Kind.DECLINED),
    ("remote: error: GH006: Protected branch update failed for refs/heads/main.", Kind.DECLINED),
    ("remote: GitLab: You are not allowed to push code to protected branches on this project.", Kind.DECLINED),
    ("! [remote rejected] a -> a (deny updating a hidden ref)", Kind.DECLINED),
    ("Host key verification failed.", Kind.HOST_KEY),
    ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", Kind.HOST_KEY),
    ("git@host: Permission denied (publickey).", Kind.UNAUTHORIZED),
    ("warning: unable to access '/d/repo.git/config': Permission denied", Kind.OTHER),
    ("fatal: could not read Username for 'https://host': terminal prompts disabled", Kind.UNAUTHORIZED),
    ("fatal: Authentication failed for 'https://host/jobs/'", Kind.UNAUTHORIZED),
    ("fatal: unable to access 'https://host/': The requested URL returned error: 403", Kind.UNAUTHORIZED),
    ("fatal: detected dubious ownership in repository at '/srv/jobs'", Kind.FOREIGN),
    ("fatal: Server does not support --shallow-since", Kind.UNSUPPORTED),
    ("fatal: dumb http transport does not support shallow capabilities", Kind.UNSUPPORTED),
    ("fatal: mismatched algorithms: client sha1; server sha256", Kind.ALGORITHM),
    ("fatal: the receiving end does not support this repository's hash algorithm", Kind.ALGORITHM),
    ("fatal: couldn't find remote ref refs/heads/main", Kind.MISSING),
    ("fatal: remote error: upload-pack: not our ref 1234", Kind.MISSING),
    ("error: file write error: No space left on device", Kind.FULL),
    ("remote: fatal: Unable to create temporary file '/srv/jobs.git/shallow_XXXXXX': Read-only file system", Kind.OTHER),
    ("fatal: sha1 file '/data/repo.git/objects/pack/tmp_pack_x' write error. Out of diskspace", Kind.FULL),
    ("fatal: unable to access 'https://host/': server certificate verification failed", Kind.CERTIFICATE),
    ("fatal: unable to access 'https://host/': Problem with the SSL CA cert (path? access rights?)", Kind.CERTIFICATE),
    ("GnuTLS recv error (-110): The TLS connection was non-properly terminated.", Kind.UNREACHABLE),
    ("OpenSSL SSL_read: error:0A000126:SSL routines::unexpected eof while reading, errno 0", Kind.UNREACHABLE),
    ("OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection to host:443", Kind.UNREACHABLE),
    ("fatal: unable to access 'https://host/': Could not resolve host: host", Kind.UNREACHABLE),
    ("ssh: connect to host h port 22: Connection refused", Kind.UNREACHABLE),
    ("fatal: '/srv/x' does not appear to be a git repository", Kind.UNREACHABLE),
    ("error: object file ./objects/12/34 is empty", Kind.DAMAGED),
    ("fatal: loose object 1234 (stored in x) is corrupt", Kind.DAMAGED),
    (
        "cannot lock ref 'refs/perdure/state/x': unable to resolve reference 'refs/perdure/state/x': reference broken",
        Kind.DAMAGED,
    ),
    ("fatal: not a tree object: e5abb37bd653", Kind.DAMAGED),
    ("fatal: mmap failed: No such device", Kind.DAMAGED),
    (
        "warning: unable to access '/d/repo.git/config': Is a directory\n"
        "fatal: unknown error occurred while reading the configuration files",
        Kind.DAMAGED,
    ),
    ("fatal: bad shallow line: 18895ff8582d", Kind.DAMAGED),
    ("something nobody has seen", Kind.UNREACHABLE),
]


LOCKED = """error: cannot lock ref 'refs/heads/main': Unable to create '/srv/jobs.git/./refs/heads/main.lock': File exists.

Another git process seems to be running in this repository, e.g.
an editor opened by 'git commit'. Please make sure all processes
are terminated then try again. If it still fails, a git process
may have crashed in this repository earlier:
remove the file manually to continue.
"""


def test_a_lock_that_a_killed_process_left_is_told_with_its_remedy() -> None:
    failed = faults.Failed(faults.classify(LOCKED, 1, remote=True), faults.readable(LOCKED.encode()), "/srv/jobs.git")
    assert failed.kind is Kind.REJECTED  # it may as well be that of a push beside ours
    assert failed.detail == (
        "/srv/jobs.git: a process of git holds a lock there, or one that was killed has left it: cannot lock ref "
        "'refs/heads/main': Unable to create '/srv/jobs.git/./refs/heads/main.lock': File exists. "
        "If it stays although no process of git works there, remove that file."
    )


@pytest.mark.parametrize(("text", "kind"), SAID)
def test_what_a_text_means(text: str, kind: Kind) -> None:
    assert faults.classify(text, 128, remote=True).kind is kind


def test_an_unknown_failure_without_a_server_is_not_the_servers() -> None:
    assert faults.classify("something nobody has seen", 128, remote=False).kind is Kind.OTHER


def test_a_killed_process_has_said_nothing() -> None:
    assert faults.classify("fetch first", -9, remote=True).kind is Kind.KILLED


def test_every_row_has_a_message_and_a_remedy() -> None:
    assert all(row.message and row.remedy for row in (*faults.TABLE, faults.LOCAL, faults.LATE, faults.KILLED))
    assert {row.kind for row in (*faults.TABLE, faults.LOCAL, faults.LATE, faults.KILLED)} == set(Kind)


def test_what_git_said_is_readable_and_harmless() -> None:
    raw = b"remote: fatal: no\rremote: no\nhint: try\nTo https://me:pw@h/x\nsee https://me:pw@h/x \x1b[2J"
    assert faults.readable(raw) == "no; see https://***@h/x �[2J"


def test_the_same_refusal_of_another_commit_reads_the_same() -> None:
    said = {
        faults.readable(f"remote: Policy 8\n!\t{oid * 40}:refs/perdure/state/a\t[remote rejected] (hook declined)".encode())
        for oid in "1f"
    }
    assert said == {"Policy 8; refs/perdure/state/a [remote rejected] (hook declined)"}


def test_the_frame_around_a_warning_of_ssh_is_left_out() -> None:
    raw = f"{'@' * 59}\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n{'@' * 59}\nHost key verification failed."
    assert faults.readable(raw.encode()) == "Host key verification failed."


def test_a_failure_becomes_an_error_with_its_remedy() -> None:
    failed = faults.Failed(faults.classify("Permission denied (publickey)", 128, remote=True), "text", "ssh://h/x")
    error = failed.error()
    assert isinstance(error, errors.Refused)
    assert error.where == "ssh://h/x"
    assert "token file" in error.remedy
    assert "text" in failed.detail


def test_what_git_adds_to_every_failure_is_left_out() -> None:
    said = b"""fatal: '/nowhere' does not appear to be a git repository
fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists.
error: failed to push some refs to '/nowhere'
"""
    assert faults.readable(said) == "'/nowhere' does not appear to be a git repository"


def test_where_the_table_says_it_all_git_adds_nothing() -> None:
    text = "refusing to update checked out branch: refs/heads/main; By default, updating the current branch is denied"
    failed = faults.Failed(faults.classify(text, 1, remote=True), text, "/repo")
    assert "By default" not in failed.detail
    assert "git clone --bare" in failed.detail
