from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fairlead.config import Settings
from tests.cli.conftest import Fairlead
from tests.cli.test_models import tiny


def test_flags_stand_above_the_configuration(fairlead: Fairlead, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[Settings, str | None, str]] = []

    def run(settings: Settings, model: str | None, *, log_format: str) -> None:
        called.append((settings, model, log_format))

    monkeypatch.setattr("fairlead.api.server.run", run)
    tiny(home)
    done = fairlead("serve", "--model", "tiny", "--port", "0", "--threads", "1", "--log-format", "json")
    assert done.exit_code == 0, done.stderr
    ((settings, model, log_format),) = called
    assert (settings.port, settings.threads, settings.home, model, log_format) == (0, 1, home, "tiny", "json")


def test_a_model_that_cannot_be_fetched_does_not_keep_the_server_from_starting(
    fairlead: Fairlead, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str | None] = []
    monkeypatch.setattr("fairlead.api.server.run", lambda _, model, **__: called.append(model))
    done = fairlead("serve", "--model", "phi-2")
    assert done.stderr.startswith("Warning: phi-2 could not be fetched")
    assert called == ["phi-2"]


def test_a_port_that_is_taken_is_said(fairlead: Fairlead, home: Path) -> None:
    tiny(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = fairlead("serve", "--model", "tiny", "--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: Port ")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--port", "70000"], 2, "Error: --port must be a whole number from 0 to 65535, not 70000"),
        (["--activations", "q4"], 2, "Error: --activations must be one of q16, q8"),
        (["--kv-type", "q4"], 2, "Error: --kv-type must be one of f16, f32, q8"),
        (["--model", "nope"], 1, "Error: There is no model 'nope'"),
        (["--model", "./nope.gguf"], 1, "Error: There is no model file at"),
    ],
)
def test_wrong_flags_are_said(fairlead: Fairlead, arguments: list[str], status: int, says: str) -> None:
    done = fairlead("serve", *arguments)
    assert done.exit_code == status
    assert done.stderr.startswith(says)
