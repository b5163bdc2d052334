"""The real scheduler under simulated machines and invented traffic."""
