"""Which models there are: the built-in ones (`catalogue.toml`), those of the user's configuration, and those added.

Owns names, and what is known of a model before its file is here. Fetches nothing, reads no model file, knows nothing
of what is loaded.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path, PurePosixPath

from fairlead import checks
from fairlead.config import Settings
from fairlead.errors import ConfigError, Conflict, InvalidRequest, ModelNotFound
from fairlead.gguf.added import AddedModels
from fairlead.gguf.checkpoint import CHECKPOINT
from fairlead.gguf.shelf import Shelf
from fairlead.model_entry import FileSource, HubSource, ModelDefaults, ModelEntry, parse_models
from fairlead.toml_document import Document


class Catalogue:
    """The models that can be asked for by name, in the order of the built-in list, the user's own last."""

    def __init__(self, settings: Settings) -> None:
        """Merge the built-in models with those of `settings` and those that were added."""
        self.shelf = Shelf(settings.models_dir)
        self._added = AddedModels(settings.home)
        self._fixed = {entry.name: entry for entry in (*builtin_models(), *settings.models)}
        self._defaults = settings.model_defaults
        self.version = self._added.version
        """Changes whenever the models do."""
        self._entries = self._merged()

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self._entries.values())

    def refresh(self) -> None:
        """Take note of what another process added or removed. ConfigError as at first."""
        version = self._added.version
        if version != self.version:
            self._entries = self._merged()
            self.version = version

    def search(self, words: str) -> list[ModelEntry]:
        """The models that have each of these words in their name or in what is known of them."""
        wanted = words.lower().split()
        return [entry for entry in self if all(word in _described(entry) for word in wanted)]

    def is_added(self, entry: ModelEntry) -> bool:
        """Whether it was added, and can be struck out again."""
        return entry.name not in self._fixed

    def add(self, entry: ModelEntry) -> ModelEntry:
        """Add a model for good.

        Raises:
            Conflict: another model has its name, or its file's.
        """
        self.refresh()
        for other in self:
            if other.name.lower() == entry.name.lower() or other.file.lower() == entry.file.lower():
                raise Conflict(f"There is a model {other.name} already; give this one another name.", param="name")
        self._change(entry.name, lambda: self._added.add(entry))
        return self._entries[entry.name]

    def remove(self, entry: ModelEntry) -> int:
        """Delete a model's fetched files and strike it out where it was added; returns the bytes given back."""
        try:
            freed = self.shelf.remove(entry)
        except OSError as error:
            raise Conflict(f"The files of {entry.name} cannot be deleted ({error.strerror}).") from error
        if self.is_added(entry):
            self._change(entry.name, lambda: self._added.remove(entry.name))
        return freed

    def _change(self, name: str, change: Callable[[], object]) -> None:
        try:
            change()
        except OSError as error:
            raise Conflict(f"The list of models cannot be written for {name} ({error.strerror}).") from error
        self.refresh()

    def _merged(self) -> dict[str, ModelEntry]:
        entries = dict(self._fixed)
        for entry in self._added.entries():
            entries.setdefault(entry.name, entry)
        for name, defaults in self._defaults.items():
            if name not in entries:
                raise ConfigError(f"models.{name}.defaults: no such model is known, so it needs `file` and `sources`")
            entries[name] = replace(entries[name], defaults=_over(entries[name].defaults, defaults))
        return entries

    def find(self, name: str) -> ModelEntry:
        """The model of this name, in whatever case; ModelNotFound says which names come close."""
        entry = self._entries.get(name) or next((entry for entry in self if entry.name.lower() == name.lower()), None)
        if entry is None:
            close = difflib.get_close_matches(name.lower(), self._entries, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(self._entries)}"
            raise ModelNotFound(f"There is no model {name[:96]!r}; {hint}", param="model", details={"close": close})
        return entry

    def resolve(self, name_or_file: str) -> ModelEntry:
        """The model of this name, or the GGUF file at this path: not for names that come over the network."""
        if name_or_file in self._entries or not looks_like_a_file(name_or_file):
            return self.find(name_or_file)
        return entry_for_file(Path(name_or_file))

    def path(self, entry: ModelEntry) -> Path | None:
        """Where the model's file lies; None where it is not on this machine."""
        return self.shelf.path(entry)


@functools.cache
def builtin_models() -> tuple[ModelEntry, ...]:
    """The models of `catalogue.toml`, in its order."""
    file = resources.files(__package__) / "catalogue.toml"
    entries, _ = parse_models(Document.parse(Path("catalogue.toml"), file.read_text(encoding="utf-8")))
    return entries


def entry_for_file(path: Path, name: str | None = None) -> ModelEntry:
    """An entry for a model file on this machine, by this name or one after the file; ModelNotFound where it is not."""
    path = path.expanduser().absolute()
    if not path.is_file():
        raise ModelNotFound(f"There is no model file at {path}", param="model")
    checkpoint = path.suffix == CHECKPOINT  # which are all called alike, and told apart by their folders
    name = name or _name_after(path.parent.name if checkpoint else path.stem)
    file = f"{name}/{path.name}" if checkpoint else path.name
    return ModelEntry(name, file, (FileSource(path),), size_bytes=path.stat().st_size)


def entry_for_hub(source: HubSource, name: str | None = None) -> ModelEntry:
    """An entry for a file on the hub, by this name or one after the file; InvalidRequest where it is no GGUF file."""
    if not source.file.lower().endswith(".gguf"):
        raise InvalidRequest(f"{source.file} is no GGUF file: its name must end in .gguf.", param="file")
    name = name or _name_after(PurePosixPath(source.file).stem)
    return ModelEntry(name, f"{name}.gguf", (source,))


def looks_like_a_file(text: str) -> bool:
    """Whether a person who writes this means a file and not a model's name."""
    return text.lower().endswith((".gguf", CHECKPOINT)) or "/" in text or "\\" in text or text.startswith("~")


def _name_after(stem: str) -> str:
    return checks.model_name(re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-_")[:96] or "model")


def _described(entry: ModelEntry) -> str:
    known = (entry.name, entry.file, entry.architecture, entry.parameters, entry.quantization)
    return " ".join([*(word for word in known if word), *map(str, entry.sources)]).lower()


def _over(base: ModelDefaults, given: ModelDefaults) -> ModelDefaults:
    set_here = {item.name: getattr(given, item.name) for item in fields(given)}
    return replace(base, **{name: value for name, value in set_here.items() if value is not None})
