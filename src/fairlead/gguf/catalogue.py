"""Which models there are: the built-in ones (`catalogue.toml`) and those of the user's configuration.

Owns names and where a model's file lies. Fetches nothing, reads no model file, knows nothing of what is
loaded.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path

from fairlead import checks
from fairlead.config import Document, FileSource, ModelDefaults, ModelEntry, Settings, parse_models
from fairlead.errors import ConfigError, ModelNotFound


class Catalogue:
    """The models that can be asked for by name, in the order of the built-in list, the user's own last."""

    def __init__(self, settings: Settings) -> None:
        """Merge the built-in models with those of `settings`."""
        self._models_dir = settings.models_dir
        self._entries = {entry.name: entry for entry in (*builtin_models(), *settings.models)}
        for name, defaults in settings.model_defaults.items():
            if name not in self._entries:
                raise ConfigError(
                    f"models.{name}.defaults: no such model is built in, so it needs `file` and `sources`"
                )
            self._entries[name] = replace(self._entries[name], defaults=_over(self._entries[name].defaults, defaults))

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self._entries.values())

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
        candidates = [self._models_dir / entry.file]
        candidates += [source.path for source in entry.sources if isinstance(source, FileSource)]
        return next((path for path in candidates if path.is_file()), None)


@functools.cache
def builtin_models() -> tuple[ModelEntry, ...]:
    """The models of `catalogue.toml`, in its order."""
    file = resources.files(__package__) / "catalogue.toml"
    entries, _ = parse_models(Document.parse(Path("catalogue.toml"), file.read_text(encoding="utf-8")))
    return entries


def entry_for_file(path: Path) -> ModelEntry:
    """An entry for a GGUF file given by its path, named after it; ModelNotFound where there is no file."""
    path = path.expanduser().absolute()
    if not path.is_file():
        raise ModelNotFound(f"There is no model file at {path}", param="model")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip(".-_")[:96] or "model"
    return ModelEntry(checks.model_name(name), path.name, (FileSource(path),), size_bytes=path.stat().st_size)


def looks_like_a_file(text: str) -> bool:
    """Whether a person who writes this means a file and not a model's name."""
    return text.lower().endswith(".gguf") or "/" in text or "\\" in text or text.startswith("~")


def _over(base: ModelDefaults, given: ModelDefaults) -> ModelDefaults:
    set_here = {item.name: getattr(given, item.name) for item in fields(given)}
    return replace(base, **{name: value for name, value in set_here.items() if value is not None})
