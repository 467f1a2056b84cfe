"""The reconciler's end of the agents' connection: one switchboard, and two doors to it (gRPC and in-process)."""
