"""The command line as people call it, and servers for it to speak to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fairlead.cli.main import app
from tests.served import Served, serving, settings_with_models

Fairlead = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of the commands; its configuration names a port where nothing listens."""
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "fairlead.toml").write_text("[server]\nport = 9\n")
    return tmp_path


@pytest.fixture
def fairlead(home: Path) -> Fairlead:
    """Calls a command in this process: `fairlead("pull", "phi-2")`."""

    def call(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    return call


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the fake model "hello" active."""
    with serving(settings_with_models(tmp_path_factory.mktemp("served"))) as server:
        yield server
