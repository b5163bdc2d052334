"""A server that most tests of the API share; those that change its models' states start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.served import Served, serving, settings_with_models


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with "hello" active, and "counting" and "slow" loaded."""
    home: Path = tmp_path_factory.mktemp("served")
    with serving(settings_with_models(home)) as server:
        with server.http() as http:
            for name in ("counting", "slow"):
                http.post("/load_model", json={"name": name}).raise_for_status()
        yield server


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with served.http() as client:
        yield client
