"""In place of the real runtime: writes down its arguments, environment and descriptors, and keeps names as runc does.

Run as `python -IS fake_runc.py …` by the script that `place.Place` makes. FAKE_STATUS is the exit status of the subcommand that
FAKE_FAILS names; with FAKE_LIES=1 a checkpoint succeeds and writes nothing.
"""

from __future__ import annotations

import json
import os
import sys

VALUED = {"--root", "--log", "--log-format", "--bundle", "--pid-file", "--image-path", "--work-path", "--console-socket"}


def main(record: str, argv: list[str]) -> int:
    descriptors = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            descriptors[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the one that listed them
    line = {"argv": argv, "env": dict(os.environ), "fds": descriptors, "cwd": os.getcwd()}
    with open(record, "a") as file:
        file.write(json.dumps(line) + "\n")
    words, values = [], {}
    rest = iter(argv)
    for word in rest:
        if word in VALUED:
            values[word] = next(rest, "")
        elif not word.startswith("-"):
            words.append(word)
    if not words:
        return 0
    if words[0] == os.environ.get("FAKE_FAILS"):
        if "--work-path" in values:
            with open(os.path.join(values["--work-path"], "restore.log"), "w") as file:
                file.write("(00.01) all well\n")
                file.write("(00.01) Error (criu/util.c:9): rlimit: Can't setup RLIMIT_NOFILE for self\n")
                file.write("(00.02) Error (criu/files.c:12): No such thing\n")
        return int(os.environ["FAKE_STATUS"])
    if words[0] == "checkpoint" and os.path.isdir(values["--image-path"]) and os.environ.get("FAKE_LIES") != "1":
        with open(os.path.join(values["--image-path"], "inventory.img"), "w"):
            pass
    if len(words) > 1:
        keep(words[0], os.path.join(values.get("--root", "/nowhere"), words[1]))
    return 0


def keep(command: str, place: str) -> None:
    if command in ("create", "restore"):
        os.makedirs(place, exist_ok=True)
    elif command == "delete" and os.path.isdir(place):
        os.rmdir(place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
