"""Fetching a model in sight of the person who waits for it."""

from __future__ import annotations

from pathlib import Path

from fairlead.cli.terminal import progress
from fairlead.config import ModelEntry, Settings
from fairlead.gguf.catalogue import Catalogue
from fairlead.gguf.download import fetch


def fetch_in_sight(entry: ModelEntry, settings: Settings) -> Path:
    """The model's file, downloaded with a progress bar where it is not on this machine; DownloadError."""
    path = Catalogue(settings).path(entry)
    if path is not None and entry.size_bytes in (None, path.stat().st_size):
        return path
    with progress(entry.name) as update:
        return fetch(entry, settings.models_dir, lambda step: update(step.phase, step.done, step.total))
