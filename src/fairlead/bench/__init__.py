"""How fast the machine is, how fast the engine is on it, and the second as a share of the first."""
