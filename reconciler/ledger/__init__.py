"""The record of runs, kept in a ref of the desired-state repository, and the notes people read."""
