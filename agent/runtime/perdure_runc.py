"""What the prologue `perdure-runc` hands a marked container to. Standard library only, Python 3.8 or newer, run as `python3 -IS`.

A restore directory (only root can enter it; the agent fills it from a verified checkpoint):

    criu/              what `criu dump` wrote, with runc's `descriptors.json`
    criu.conf          optional: lines for CRIU's configuration file on this restore; never from the image
    container.json     what a restore compares; decides nothing
    credentials.json   decoded from criu/core-*.img by the agent
    layer.json layer/  the writable layer, optional
    shm.json shm/      the same for what lay in /dev/shm, optional

    container.json     {"v": 1, "mounts": [DESTINATION…], "seccomp": TEXT, "network": true}
      mounts           destinations of every external mount CRIU was given, cgroup mounts left out
      seccomp          SHA-256, in hex, of config.json's `linux.seccomp` as JSON with sorted keys and no blanks; "" for none
      network          whether its network namespace was its own, given to CRIU as extRootNetNS (false: the host's)

    credentials.json   {"v": 1, "tasks": [TASK…]}, one for every thread of every process
      TASK             {"pid": 1, "uids": [real, effective, saved, fs], "gids": [the same four], "groups": [GID…],
                        "capabilities": {"bounding": MASK, "permitted": MASK, "effective": MASK, "inheritable": MASK},
                        "no_new_privileges": BOOL, "seccomp": 0 | 1 | 2, "lsm": TEXT ("" for none)}

    layer.json         {"v": 1, "entries": [ENTRY…], "deleted": [PATH…]}, shm.json alike with its root in /dev/shm
      PATH             relative to the root, no leading slash, no empty, "." or ".." part ("" is the root itself)
      ENTRY            a folder stands before what is in it
        path           PATH
        kind           "directory" | "file" | "link" | "fifo"; devices have been refused when the checkpoint was taken
        mode           permission bits with setuid, setgid and sticky, as a number
        uid gid        numbers
        mtime          nanoseconds
        data           file: the content is `layer/<data>` (`shm/<data>`); absent for an empty file
        size           file: its bytes (a content that is shorter ends in a hole)
        target         link: what it points to
        same           path of an earlier entry: a hard link to it; such an entry has only `path`, `kind` and `same`
        opaque         directory: what the image has in it is hidden
        xattrs         {NAME: base64}, trusted.overlay.* left out

Deletions come first, then entries in order, then the times of directories.
"""

from __future__ import annotations
