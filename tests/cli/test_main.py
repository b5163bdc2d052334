from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairlead import __version__
from fairlead.gguf.catalogue import Catalogue
from tests.cli.conftest import Fairlead

HEAVY = ("fastapi", "httpx", "huggingface_hub", "msgspec", "numpy", "rich.console", "tokenizers", "uvicorn")


def test_version(fairlead: Fairlead) -> None:
    assert fairlead("--version").stdout == f"fairlead {__version__}\n"


def test_help_names_every_command(fairlead: Fairlead) -> None:
    shown = fairlead("--help").stdout
    for name in ("serve", "run", "pull", "list", "ps", "show", "load", "unload", "doctor", "config"):
        assert f" {name} " in shown


def test_commands_import_what_they_need_only_when_they_run() -> None:
    code = f"import sys, fairlead.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_is_a_program_and_a_module() -> None:
    program = Path(sys.executable).with_name("fairlead")
    for command in ([str(program)], [sys.executable, "-m", "fairlead"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"fairlead {__version__}\n"


@pytest.mark.parametrize("arguments", [["fly"], ["pull"], ["pull", "phi-2", "--fast"], ["run", "x", "--max-tokens=0"]])
def test_what_cannot_be_meant_is_status_2(fairlead: Fairlead, arguments: list[str]) -> None:
    assert fairlead(*arguments).exit_code == 2


def test_a_wrong_configuration_is_one_sentence_and_status_2(fairlead: Fairlead, home: Path) -> None:
    (home / "fairlead.toml").write_text("[server]\nprot = 1\n")
    done = fairlead("list")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"Error: {home}/fairlead.toml:2: server.prot is not a setting; did you mean port?\n"


def test_an_error_of_fairlead_is_one_sentence_and_status_1(fairlead: Fairlead) -> None:
    done = fairlead("show", "fi-2")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: There is no model 'fi-2'; did you mean phi-2?\n"


def test_ctrl_c_is_status_130(fairlead: Fairlead, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Catalogue, "find", interrupted)
    assert fairlead("pull", "phi-2").exit_code == 130


def test_config_check_shows_what_it_comes_to(fairlead: Fairlead, home: Path) -> None:
    done = fairlead("config", "check")
    assert done.exit_code == 0
    assert f"{home}/fairlead.toml is right." in done.stdout
    assert "  port = 9\n" in done.stdout
    assert "phi-2" in done.stdout
    (home / "fairlead.toml").write_text("[models.nobody.defaults]\ntop_k = 3\n")
    assert fairlead("config", "check").exit_code == 2


def test_the_example_configuration_is_right(fairlead: Fairlead) -> None:
    example = Path(__file__).parents[2] / "fairlead.example.toml"
    assert fairlead("config", "check", "--config", str(example)).exit_code == 0
