"""The CRIU engine: a container's processes, memory and files, without a change to the program.

    preflight   say in plain words what cannot be captured, before anything is frozen
    take        copy ahead what lies still → freeze → pages, small images, changed files → the store or a spool → end or thaw
    prepare_restore   write a directory from which the interposer has runc restore the container
    sweep       what an agent that was killed left behind: thaw, unlock, discard

An image holds (`memory.py`, `tree.py`, `record.py` say how):

    criu/           CRIU's own small images, its pagemaps, and runc's `descriptors.json`
    memory/         the pages, each in a file named after its address, so that unchanged memory is found again in the parent
    layer.json layer/   the writable layer
    shm.json shm/       what lay in /dev/shm
    container.json  what a restore compares; it decides nothing
"""

from __future__ import annotations
