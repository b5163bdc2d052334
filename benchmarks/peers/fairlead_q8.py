"""Fairlead once more, with activations of 8 bits, as the other engines have them."""

from __future__ import annotations

from functools import partial

from benchmarks.peers.fairlead import engine
from benchmarks.peers.job import run

if __name__ == "__main__":
    run(partial(engine, activations="q8"))
