"""Fixtures that several parts of the suite share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The starter model's file, as `make` fetched it; tests of real weights are skipped where it is missing."""
    home = Path(os.environ.get("FAIRLEAD_TEST_HOME", Path(__file__).parent.parent / "build" / "home"))
    path = home / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        pytest.skip(f"the starter model is not at {path}: `make model` fetches it")
    return path
