from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.gguf.writer import write_gguf
from tests import tiny_models
from tests.cli.conftest import Fairlead
from tests.loopback_hub import Hub
from tests.loopback_hub import serving as serving_hub
from tests.served import Served, serving, settings_with_models


def tiny(home: Path, name: str = "tiny") -> Path:
    """A whole model file, known to the configuration by its name."""
    path = home / f"{name}.gguf"
    tiny_models.make(path, "qwen2")
    with (home / "fairlead.toml").open("a") as config:
        config.write(f'\n[models.{name}]\nfile = "{name}.gguf"\nsources = [{{ path = "{name}.gguf" }}]\n')
    return path


def test_list_says_what_is_on_disk(fairlead: Fairlead, home: Path) -> None:
    tiny(home)
    lines = {line.split()[0]: line for line in fairlead("list").stdout.splitlines()}
    assert lines["tiny"].endswith("on disk")
    assert lines["phi-2"].endswith("available")
    assert lines["smollm2-135m"].split()[1:5] == ["llama", "135M", "Q4_1", "98.4"]


def test_show_tells_of_the_entry_and_of_the_file(fairlead: Fairlead, home: Path) -> None:
    path = tiny(home)
    for name in ("tiny", str(path)):
        shown = fairlead("show", name).stdout
        assert "architecture    qwen2\n" in shown
        assert f"file            {path}\n" in shown
        assert "sources         file tiny.gguf\n" in shown
    assert "file            not on this machine: fairlead pull phi-2\n" in fairlead("show", "phi-2").stdout


def test_a_file_cannot_steer_the_terminal(fairlead: Fairlead, home: Path) -> None:
    path = home / "sly.gguf"
    write_gguf(path, {**tiny_models.metadata("qwen2"), "general.name": "\x1b[2J\x9b31mred\r"}, [])
    shown = fairlead("show", str(path)).stdout
    assert "says it is      ␛[2J\ufffd31mred␍\n" in shown


def test_a_damaged_file_is_said(fairlead: Fairlead, home: Path) -> None:
    path = tiny(home)
    path.write_bytes(path.read_bytes()[:40])
    assert fairlead("show", "tiny").exit_code == 1
    done = fairlead("doctor")
    assert done.exit_code == 1
    assert "BROKEN: tiny" in done.stdout


def test_pull_of_what_is_here_is_quick_and_of_what_cannot_be_had_is_said(fairlead: Fairlead, home: Path) -> None:
    path = tiny(home)
    assert fairlead("pull", "tiny").stderr.startswith(f"tiny is at {path} (")
    done = fairlead("pull", "phi-2")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "Error: phi-2 could not be fetched from any source: hub TheBloke/phi-2-GGUF: the hub cannot be reached"
    )


def test_list_finds_by_words_and_says_what_the_disk_holds(fairlead: Fairlead, home: Path) -> None:
    (home / "models" / ".partial").mkdir(parents=True)
    (home / "models" / "some.gguf").write_bytes(bytes(2000))
    (home / "models" / ".partial" / "other.gguf.x.part").write_bytes(bytes(1000))
    found = fairlead("list", "8b", "LLAMA")
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["NAME", "llama-3-8b", "llama-3.1-8b"]
    assert found.stderr.startswith("The models folder takes 2.0 kB, and 1.0 kB of unfinished downloads; ")


def test_a_file_is_added_verified_and_removed(fairlead: Fairlead, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.gguf"
    tiny_models.make(path, "qwen2")
    assert fairlead("add", str(path), "--name", "mine").stderr == "mine is added.\n"
    assert "mine" in fairlead("list").stdout
    assert fairlead("verify", "mine").stdout.startswith("mine: nobody knew its checksum until now, SHA-256 ")
    assert fairlead("verify").stdout.startswith("mine: right, SHA-256 ")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    wrong = fairlead("verify", "mine", "phi-2")
    assert wrong.exit_code == 1
    assert "mine: WRONG: elsewhere.gguf is corrupt" in wrong.stdout
    assert "phi-2: not on this machine" in wrong.stdout
    assert fairlead("remove", "mine").stderr == "mine: 0 B given back; it is struck out.\n"
    assert path.exists()
    assert fairlead("show", "mine").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no/such/file.gguf"], "There is no model file at"),
        (["OWNER", "x.gguf"], "Error: REPO must be OWNER/NAME"),
        (["a/b", "../x.gguf"], "Error: FILE must not hold"),
        (["a/b", "x.bin"], "is no GGUF file"),
        (["a/b", "x.gguf", "--name", "a b"], "Error: --name is no model name"),
        (["a/b", "x.gguf", "--name", "phi-2"], "There is a model phi-2 already"),
    ],
)
def test_what_cannot_be_added_is_said(fairlead: Fairlead, arguments: list[str], said: str) -> None:
    done = fairlead("add", *arguments)
    assert done.exit_code in (1, 2)
    assert said in done.stderr


def test_a_file_that_is_no_model_is_not_added(fairlead: Fairlead, home: Path) -> None:
    (home / "x.gguf").write_bytes(b"no model")
    assert fairlead("add", str(home / "x.gguf")).exit_code == 1
    assert not (home / "models.toml").exists()


def test_several_are_pulled_and_those_that_cannot_be_had_are_named(
    fairlead: Fairlead, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_hub(Hub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for name in ("one", "two"):
            assert "`fairlead pull" in fairlead("add", "owner/repo", "x.gguf", "--name", name).stderr
        done = fairlead("pull", "one", "two")
        assert done.exit_code == 0
        assert "one is at" in done.stderr
        assert "two is at" in done.stderr
        fairlead("remove", "one")
        fairlead("add", "owner/repo", "x.gguf", "--name", "one")
        hub.status = 500
        done = fairlead("pull", "one", "two")
    assert done.exit_code == 1
    assert "Error: one could not be fetched from any source" in done.stderr


def test_show_asks_a_running_server_what_it_would_take(fairlead: Fairlead, home: Path, tmp_path: Path) -> None:
    tiny(home, "hello")
    with serving(settings_with_models(tmp_path / "served")) as served:
        shown = fairlead("show", "hello", "--url", served.url).stdout
    assert "\nmemory          " in shown
    assert shown.rstrip().endswith("available: fits")


def test_doctor_looks_at_everything(fairlead: Fairlead, home: Path) -> None:
    tiny(home)
    done = fairlead("doctor")
    assert done.exit_code == 0
    for what in (
        "extension  built; uses",
        "fairlead",
        "processor",
        "memory",
        "GPU",
        f"data       {home}",
        "tiny: qwen2",
    ):
        assert what in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["ps"], 1), (["load", "phi-2"], 1), (["unload", "phi-2"], 1), (["run", "Hi", "--url", "[::1]:9"], 4)],
)
def test_without_a_server_they_say_so(fairlead: Fairlead, arguments: list[str], status: int) -> None:
    done = fairlead(*arguments)
    assert done.exit_code == status
    assert done.stderr.startswith("Error: No server answers at http://")


def test_loading_listing_and_unloading_on_a_server(fairlead: Fairlead, tmp_path: Path) -> None:
    with serving(settings_with_models(tmp_path / "served")) as served:
        done = fairlead("load", "other", "--activate", "--url", served.url)
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "other is loaded and active.")
        rows = [line.split() for line in fairlead("ps", "--url", served.url).stdout.splitlines()]
        assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
            ("hello", "loaded", rows[1][-1]),
            ("other", "loaded", "active"),
        ]
        assert fairlead("load", "other", "--pin", "--keep-alive", "5m", "--url", served.url).exit_code == 0
        assert fairlead("ps", "--url", served.url).stdout.rstrip().endswith("active, pinned")
        assert fairlead("unload", "other", "--force", "--url", served.url).stderr == "other is unloaded.\n"
        assert fairlead("unload", "hello", "--url", served.url).exit_code == 0
        assert fairlead("ps", "--url", served.url).stderr == "No model is loaded.\n"
        assert fairlead("unload", "hello", "--url", served.url).exit_code == 1


def test_what_the_server_refuses_is_its_sentence(fairlead: Fairlead, served: Served) -> None:
    done = fairlead("load", "heavy", "--url", served.url)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "There is no model 'nope'" in fairlead("load", "nope", "--url", served.url).stderr
