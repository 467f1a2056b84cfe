"""Git, run in one place and in one way.

Every git process starts here: in an environment built from scratch (`environment`), in a bare repository of our own
(`mirror`), in a process group that ends with its deadline (`process`), with addresses, names and paths checked before
it starts (`address`). What it says is turned into one of a closed list of faults by one ordered table (`faults`).

Nothing is ever checked out: objects are read with ls-tree and `cat-file --batch` (`objects`) and written with
fast-import (`stream`), so that no hook, filter, attribute, link or submodule of anybody's repository has an effect here.

Plain processes, not GitPython: its commands inherit the caller's environment, and a deadline of theirs ends git but not the
programs that git has started. (It serves `perdure doctor`, which looks at a person's own clone.) A persistent `cat-file`
would save 3 ms a read, and be one more process to leave behind.
"""
