"""The command line, in its own processes and against real repositories wherever that matters."""
