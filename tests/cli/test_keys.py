from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairlead.cli.main import app
from tests.served import serving, settings_with_models


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FAIRLEAD_API_KEY", raising=False)
    return tmp_path / "home"


def run(*arguments: str, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def test_keys_are_made_listed_revoked_and_cleared() -> None:
    assert "no key" in run("keys", "list")[1]
    key = run("keys", "add", "anna", "--label", "laptop")[0].strip()
    assert key.startswith("fl_")
    run("keys", "add", "ben")
    listed = run("keys", "list")[0]
    assert key not in listed
    assert key[:9] in listed
    assert "laptop" in listed
    run("keys", "revoke", "1")
    assert "revoked" in run("keys", "list")[0].splitlines()[1]
    assert "no valid key 1" in run("keys", "revoke", "1", status=1)[1]
    run("keys", "clear", status=1)
    assert "2 keys are deleted" in run("keys", "clear", "--yes")[1]


@pytest.mark.parametrize("arguments", [["", "--label", "x"], ["a\x1bb"], ["anna", "--label", "x" * 201]])
def test_names_and_labels_that_are_none_are_refused(arguments: list[str]) -> None:
    run("keys", "add", *arguments, status=2)
    assert "no key" in run("keys", "list")[1]


def test_commands_send_the_key_to_a_server_that_asks_for_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(settings_with_models(home)) as server:
        key = run("keys", "add", "anna")[0].strip()
        arguments = ["ps", "--url", server.url]
        time.sleep(1.1)  # for so long the server may go by what it knew
        assert "access key" in run(*arguments, status=1)[1]
        assert "not valid" in run(*arguments, "--key", "fl_none", status=1)[1]
        assert "hello" in run(*arguments, "--key", key)[0]
        monkeypatch.setenv("FAIRLEAD_API_KEY", key)
        assert "hello" in run(*arguments)[0]
        assert "hello" in run("top", "--once", "--url", server.url)[0]
        assert "Hello" in run("run", "Hi", "--url", server.url)[0]
