"""A Docker Swarm as a target: one service an attempt, on the node whose agent has prepared it."""
