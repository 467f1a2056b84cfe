"""What runs attempts: plain hosts through their agents, and a fake for tests and the simulation."""
