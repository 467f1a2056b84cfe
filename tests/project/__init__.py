"""Tests of what is around the code: the wheel, the locks, the set-up and the test environment itself."""
