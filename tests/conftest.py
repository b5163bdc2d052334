"""Fixtures that several parts of the suite share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from fairlead.kernels import instruction_sets

pytest_plugins = ["tests.databases"]

# An example that takes long beside other work on the machine is no failure; tests of what must be quick say so.
settings.register_profile("shared machine", parent=settings(), deadline=None)
settings.load_profile("shared machine")

ALL_SETS = ("portable", "avx2", "avx-vnni", "avx512", "vnni", "amx")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which instruction sets the kernels were tested in, and which this processor lacks."""
    there = instruction_sets()
    lacking = [name for name in ALL_SETS if name not in there]
    told = f"instruction sets here: {', '.join(there)}; this processor lacks: {', '.join(lacking) or 'none'}"
    terminalreporter.write_line(told)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A server that a test runs in this process sends the log elsewhere: the next test finds it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The starter model's file, as `make` fetched it; tests of real weights are skipped where it is missing."""
    return _fetched("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def embedding_model() -> Path:
    """The weights of the starter embedding model, likewise; what belongs to them lies beside them."""
    return _fetched("all-MiniLM-L6-v2/model.safetensors")


def _fetched(file: str) -> Path:
    home = Path(os.environ.get("FAIRLEAD_TEST_HOME", Path(__file__).parent.parent / "build" / "home"))
    path = home / "models" / file
    if not path.exists():
        pytest.skip(f"there is no {path}: `make model` fetches it")
    return path
