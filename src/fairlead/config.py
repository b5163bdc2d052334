"""What Fairlead is told: `fairlead.toml`, the environment and the command line, as one frozen `Settings`.

Owns the names, types and limits of everything that can be set, but for models (`model_entry.py`), and where the data
lives. Knows nothing of what the settings are used for, opens nothing but the configuration file and makes no folder.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fairlead import checks
from fairlead.errors import ConfigError
from fairlead.model_entry import ModelDefaults, ModelEntry, parse_models
from fairlead.toml_document import Check, Document, instead

KVType = Literal["f16", "f32", "q8"]
Activations = Literal["q16", "q8"]
Policy = Literal["fair", "fcfs"]

CONFIG_FILE = "fairlead.toml"
DATABASE_FILE = "fairlead.db"
STARTER = "smollm2-135m"
"""The model that a server without any configuration starts with."""
EMBEDDER = "all-minilm-l6-v2"
"""The model that it turns texts into vectors with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings:
    """What is set for one user."""

    weight: float = 1.0
    """The user's share of a model's time, relative to others'."""
    max_waiting: int | None = None
    """Most of the user's requests that may wait at once; None is `Settings.max_waiting_per_user`."""
    tokens_per_day: int | None = None
    """Most tokens, of prompts and answers, in a day (UTC); None is `Settings.tokens_per_day`."""
    storage_bytes: int | None = None
    """Most bytes that the user's files and collections may take; None is `Settings.storage_bytes`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was set, checked; every field but `home` has a default."""

    home: Path
    """The folder that holds all data."""
    host: str = "127.0.0.1"
    port: int = 8081
    """0 takes any free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that the server answers to besides the loopback ones."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the server besides its own."""
    default_model: str | None = STARTER
    """Loaded at start; None loads nothing."""
    embedding_model: str = EMBEDDER
    """Turns texts into vectors where nobody names a model; loaded when it is needed."""
    drain_timeout_s: float = 30.0
    """How long running answers may go on after a SIGTERM."""
    threads: int = 0
    """0: as many as processors are given to the process."""
    kv_type: KVType = "f16"
    activations: Activations = "q16"
    """What rows may become before they meet quantised weights: q8 reads prompts faster, and is less exact."""
    kv_tokens: int | None = None
    """Tokens that the KV cache of a model holds for all requests together; None is chosen by the memory."""
    context_length: int | None = None
    """The longest prompt and answer together, in tokens; None is the model's own."""
    max_batch_tokens: int = 512
    """Most tokens that one step of the engine computes."""
    watchdog_s: float = 20.0
    """A worker that has work and shows no sign of progress for so long is replaced."""
    load_on_demand: bool = True
    """Whether a request for a model that is on this machine and not loaded has it loaded."""
    keep_alive: float = math.inf
    """Seconds without a request after which a model is unloaded, where it has no setting of its own."""
    longest_wait_s: float = 15.0
    """Requests that wait for so long have models that stand in their way finish what runs and leave."""
    shortest_stay_s: float = 2.0
    """A model that was loaded stays for so long before another may take its memory."""
    policy: Policy = "fair"
    """How a model's time is shared out: fairly between users, or first come, first served."""
    step_budget_ms: float | None = None
    """The gap that a running answer may feel while prompts are read; None follows its usual gap."""
    max_running: int = 64
    """Most requests that run on a model at once."""
    max_waiting: int = 1024
    """Most requests that wait for their first token at once; one more is refused."""
    max_waiting_per_user: int = 64
    """Most of them that are one user's."""
    prefix_cache: bool = True
    """Whether what prompts have in common is computed once."""
    share_prefixes: bool = False
    """Whether users share the cached beginnings of their prompts, and not only those that the configuration wrote."""
    lookup: bool = True
    """Whether answers that quote their prompt are guessed ahead and verified."""
    tokens_per_day: int | None = None
    """Most tokens, of prompts and answers, that a user may have in a day (UTC); None is without limit."""
    storage_bytes: int | None = None
    """Most bytes that a user's files and collections may take; None is without limit."""
    database: str | None = None
    """A file's path, from the home folder, or a `postgresql://` URL; None is `fairlead.db`."""
    grace_s: float = 30.0
    """How long an answer in a chat goes on that nobody reads any more."""
    files_share: float = 0.5
    """The share of a model's context that a chat's files may take."""
    make_titles: bool = True
    """Whether chats are named by the model, while nobody waits for an answer."""
    max_file_bytes: int = 50 << 20
    """Of a file that is attached to a chat."""
    max_files_per_chat: int = 50
    """Most files that a chat may have."""
    users: Mapping[str, UserSettings] = field(default_factory=dict)
    """The users of `fairlead.toml`, by name."""
    models: tuple[ModelEntry, ...] = ()
    """The models of `fairlead.toml`; the built-in ones are the catalogue's."""
    model_defaults: Mapping[str, ModelDefaults] = field(default_factory=dict)
    """Defaults that `fairlead.toml` gives to built-in models, by name."""

    @property
    def models_dir(self) -> Path:
        """Where model files are kept."""
        return self.home / "models"

    @property
    def files_dir(self) -> Path:
        """Where the bytes of files in chats are kept, each under its SHA-256: `ab/abcdef...`.

        Beside the database that knows them: a server deletes at its start what its database does not know.
        """
        location = self.database_location
        return (location.parent if isinstance(location, Path) else self.home) / "files"

    @property
    def key_secret(self) -> Path:
        """The file of the secret under which access keys are hashed."""
        return self.home / "keys.secret"

    @property
    def database_location(self) -> Path | str:
        """The file of an SQLite database, or the URL of another."""
        if self.database is not None and "://" in self.database:
            return self.database
        return self.home / Path(self.database or DATABASE_FILE).expanduser()


_SETTINGS: Mapping[str, Mapping[str, Check]] = {
    "server": {
        "host": checks.text,
        "port": checks.integer(0, 65535),
        "allowed_hosts": checks.texts,
        "allowed_origins": checks.texts,
        "default_model": checks.optional_text,
        "embedding_model": checks.model_name,
        "drain_timeout_s": checks.number(0, 86_400),
    },
    "engine": {
        "threads": checks.integer(0, 1024),
        "kv_type": checks.one_of("f16", "f32", "q8"),
        "activations": checks.one_of("q16", "q8"),
        "kv_tokens": checks.integer(1, 2**40),
        "context_length": checks.integer(1, 2**31),
        "max_batch_tokens": checks.integer(1, 65_536),
        "watchdog_s": checks.number(1, 86_400),
    },
    "loading": {
        "load_on_demand": checks.boolean,
        "keep_alive": checks.duration,
        "longest_wait_s": checks.number(0, 86_400),
        "shortest_stay_s": checks.number(0, 86_400),
    },
    "scheduling": {
        "policy": checks.one_of("fair", "fcfs"),
        "step_budget_ms": checks.number(1, 60_000),
        "max_running": checks.integer(1, 4096),
        "max_waiting": checks.integer(1, 65_536),
        "max_waiting_per_user": checks.integer(1, 65_536),
        "prefix_cache": checks.boolean,
        "share_prefixes": checks.boolean,
        "lookup": checks.boolean,
    },
    "limits": {
        "tokens_per_day": checks.integer(0, 2**53),
        "storage_bytes": checks.integer(0, 2**53),
    },
    "storage": {
        "database": checks.database,
    },
    "chats": {
        "grace_s": checks.number(0, 86_400),
        "files_share": checks.number(0, 0.75),
        "make_titles": checks.boolean,
    },
    "files": {
        "max_file_bytes": checks.integer(1, 2**40),
        "max_files_per_chat": checks.integer(1, 10_000),
    },
}

_NAMED = ("users", "models")
"""Sections of tables with names."""

_USER: Mapping[str, Check] = {
    "weight": checks.number(0, 1000, above_low=True),
    "max_waiting": checks.integer(1, 65_536),
    "tokens_per_day": checks.integer(0, 2**53),
    "storage_bytes": checks.integer(0, 2**53),
}


def home_folder(home: Path | None = None) -> Path:
    """Where the data lives: `home`, else FAIRLEAD_HOME, else `fairlead` in the user's XDG data folder."""
    if home is not None:
        return home.expanduser().absolute()
    if given := os.environ.get("FAIRLEAD_HOME"):
        return Path(given).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if Path(data).is_absolute() else Path("~/.local/share").expanduser()
    return base / "fairlead"


def load_settings(
    home: Path | None = None,
    config_file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of the configuration file, under `overrides`: fields of `Settings`, None where not given.

    Reads `config_file`, or `fairlead.toml` in the home folder where there is one. ConfigError says the
    file, the line and the key, or the flag.
    """
    folder = home_folder(home)
    if config_file is None and not (folder / CONFIG_FILE).exists():
        values: dict[str, object] = {}
    else:
        path = config_file or folder / CONFIG_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise ConfigError(f"the configuration {path} cannot be read: {reason}") from None
        values = _settings_of(Document.parse(path, text))
    values |= _checked_overrides(overrides or {})
    values["home"] = folder
    return Settings(**values)  # type: ignore[arg-type]  # each value passed the check of its field


def _settings_of(document: Document) -> dict[str, object]:
    values: dict[str, object] = {}
    for section, table in document.tables.items():
        if section in _NAMED:
            continue
        if section not in _SETTINGS:
            raise document.wrong((section,), f"is not a section{instead(section, [*_SETTINGS, *_NAMED])}")
        if not isinstance(table, dict):
            raise document.wrong((section,), f"must be a section: [{section}]")
        values |= document.checked(table, (section,), _SETTINGS[section])
    values["models"], values["model_defaults"] = parse_models(document)
    values["users"] = _users(document)
    return values


def _users(document: Document) -> dict[str, UserSettings]:
    """The `[users.NAME]` tables."""
    users = {}
    for name, table in document.named("users").items():
        try:
            given = document.checked(checks.table(table), ("users", name), _USER)
            users[checks.user_name(name)] = UserSettings(**given)  # type: ignore[arg-type]  # checked
        except ValueError as error:
            raise document.wrong(("users", name), str(error)) from None
    return users


def _checked_overrides(overrides: Mapping[str, object]) -> dict[str, object]:
    known = {key: check for section in _SETTINGS.values() for key, check in section.items()}
    values = {}
    for key, value in overrides.items():
        if value is None:
            continue
        if key not in known:
            raise TypeError(f"{key} is no field of Settings ({', '.join(known)})")
        try:
            values[key] = known[key](value)
        except ValueError as error:
            raise ConfigError(f"--{key.replace('_', '-')} {error}", param=key) from None
    return values
