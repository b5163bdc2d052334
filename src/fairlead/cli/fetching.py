"""Fetching models in sight of the person who waits for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fairlead.cli.terminal import Update, progresses
from fairlead.config import Settings
from fairlead.errors import DownloadError
from fairlead.gguf import download
from fairlead.gguf.catalogue import Catalogue
from fairlead.model_entry import ModelEntry

_AT_ONCE = 4


def fetch_in_sight(entry: ModelEntry, settings: Settings) -> Path:
    """The model's file, downloaded with a progress bar where it is not on this machine; DownloadError."""
    ((_, path),) = fetch_all_in_sight([entry], settings)
    return path


def fetch_all_in_sight(entries: Sequence[ModelEntry], settings: Settings) -> list[tuple[ModelEntry, Path]]:
    """The models' files, those that are not on this machine downloaded, several at once with a progress bar each.

    Where some cannot be had, the others are fetched all the same; DownloadError then names those.
    """
    paths = {entry.name: _whole(entry, settings) for entry in entries}
    missing = [entry for entry in entries if paths[entry.name] is None]
    if missing:
        paths |= _fetch(missing, settings)
    return [(entry, path) for entry in entries if (path := paths[entry.name]) is not None]


def _whole(entry: ModelEntry, settings: Settings) -> Path | None:
    path = Catalogue(settings).path(entry)
    return path if path is not None and entry.size_bytes in (None, path.stat().st_size) else None


def _fetch(entries: Sequence[ModelEntry], settings: Settings) -> dict[str, Path | None]:
    interrupted = threading.Event()

    def fetch(entry: ModelEntry, update: Update) -> Path:
        def report(step: download.Progress) -> None:
            if interrupted.is_set():
                raise DownloadError(f"{entry.name}: interrupted")
            update(step.phase, step.done, step.total)

        return download.fetch(entry, settings.models_dir, report)

    with progresses([entry.name for entry in entries]) as updates, ThreadPoolExecutor(_AT_ONCE) as pool:
        fetches = {entry.name: pool.submit(fetch, entry, updates[entry.name]) for entry in entries}
        try:
            errors = [error for fetch in fetches.values() if (error := fetch.exception()) is not None]
        except KeyboardInterrupt:
            interrupted.set()
            raise
    for error in errors:
        if not isinstance(error, DownloadError):
            raise error
    if errors:
        raise DownloadError("; ".join(error.message for error in errors if isinstance(error, DownloadError)))
    return {name: fetch.result() for name, fetch in fetches.items()}
