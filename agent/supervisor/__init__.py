"""The process that stands by one attempt from its start to its recorded end.

It outlives the agent and the reconciler, so it keeps to the standard library, takes about 11 MB and starts in 20 ms. Everything
it learns it writes down durably in the attempt's folder, where the agent reads it:

    launch.json    what to start (written by the agent; secrets come through a pipe instead)
    started.json   written before the program may run: from here on this attempt number is used up
    ending.json    written when the program was ended by us, after it was found alive and before it is signalled
    result.json    how it ended; `gone` becomes true when no process of its tree is left

Started again in the same folder it never starts the program a second time: it adopts the process by pid and start time, or
records that the outcome is unknown.
"""

from __future__ import annotations
