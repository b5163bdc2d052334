"""llama.cpp's server in a process of its own, from the wheel `xllamacpp`.

It says where it listens, and runs until a signal ends it.
"""

from __future__ import annotations

import argparse
import importlib
import signal
from pathlib import Path


def main() -> None:
    """Prints one line, and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens of a slot")
    options = parser.parse_args()
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.context * options.slots
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
    parameters.verbosity = 0
    parameters.cache_ram_mib = 512
    server = xllamacpp.Server(parameters)
    print(f"listening on {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
