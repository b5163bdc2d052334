"""What the documents say of settings, commands and metrics is what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command
from typer.testing import CliRunner

from fairlead import errors
from fairlead.api.app import create_app
from fairlead.cli.main import app
from fairlead.config import STARTER, Settings, UserSettings, load_settings
from fairlead.gguf.catalogue import Catalogue
from fairlead.model_entry import ModelDefaults
from fairlead.service.metrics import Metrics

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
EXAMPLE = ROOT / "fairlead.example.toml"
NO_KEYS = {"home", "users", "models", "model_defaults"}


def test_every_setting_is_told_of() -> None:
    for item in fields(Settings):
        if item.name not in NO_KEYS:
            assert re.search(
                rf"`(server|engine|loading|scheduling|limits|storage|chats|files)\.{item.name}`", OPERATIONS
            ), item.name
            assert re.search(rf"^#? ?{item.name} = ", EXAMPLE.read_text(), re.MULTILINE), item.name
    for item in fields(UserSettings):
        assert f"`users.NAME.{item.name}`" in OPERATIONS
    for item in fields(ModelDefaults):
        assert f"`{item.name}`" in OPERATIONS


def test_the_example_holds_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path, EXAMPLE) == Settings(tmp_path)


def test_what_the_example_only_hints_at_works(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    hints = text[text.index("# [users.") :].replace('sha256 = "..."', f'sha256 = "{"0" * 64}"')
    hinted = "\n".join(line.removeprefix("#").removeprefix(" ") for line in hints.splitlines())
    hinted = "\n".join(line for line in hinted.splitlines() if not line.startswith(("A model", "A built-in")))
    (tmp_path / "fairlead.toml").write_text(hinted)
    settings = load_settings(tmp_path)
    assert settings.users["anna"] == UserSettings(
        weight=2.0, max_waiting=16, tokens_per_day=5_000_000, storage_bytes=5_000_000_000
    )
    catalogue = Catalogue(settings)
    assert catalogue.find("my-model").defaults.max_tokens == 512
    assert catalogue.find("llama-3.1-8b").defaults.temperature == 0.3


def test_every_metric_is_told_of_and_no_other() -> None:
    told = set(re.findall(r"^\| `(fairlead_\w+)` \|", OPERATIONS, re.MULTILINE))
    families = text_string_to_metric_families(Metrics().text().decode())
    there = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert told == {name for name in there if not name.endswith("_created")}


def test_the_commands_of_the_readme_are_there() -> None:
    commands: dict[str, object] = get_command(app).commands  # type: ignore[attr-defined]  # a group has them
    named = set(re.findall(r"[`$] ?fairlead ([a-z]+)", README)) | set(re.findall(r"\| fairlead ([a-z]+)", README))
    assert named == set(commands)


def test_the_list_of_models_is_as_the_readme_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path))
    starter = Catalogue(Settings(tmp_path)).find(STARTER)
    (tmp_path / "models").mkdir()
    with (tmp_path / "models" / starter.file).open("wb") as file:
        file.truncate(starter.size_bytes)
    shown = CliRunner().invoke(app, ["list"]).stdout
    assert f"$ fairlead list\n{shown}```" in README


def test_every_error_code_is_told_of() -> None:
    told = (ROOT / "docs" / "api.md").read_text()
    for error in [value for value in vars(errors).values() if isinstance(value, type)]:
        if issubclass(error, errors.FairleadError) and error is not errors.ConfigError:  # which no client sees
            assert f"`{error.code}`" in told, error


def test_every_route_is_told_of() -> None:
    told = (ROOT / "docs" / "api.md").read_text()
    routes = create_app(Settings(ROOT, default_model=None)).openapi()["paths"]
    assert len(routes) > 10
    for route in routes:
        assert f"{route}`" in told, route
