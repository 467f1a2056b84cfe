"""The interposer, with a real runtime that only writes down how it was called."""
