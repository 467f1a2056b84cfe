"""The few things of the operating system that more than one adapter or program needs, one module each."""
