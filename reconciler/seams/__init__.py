"""The few things of the operating system that more than one adapter needs, one module each."""
