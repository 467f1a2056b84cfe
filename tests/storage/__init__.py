"""The store: one contract for the fake and the real one, and a test for each fault it must stand."""
