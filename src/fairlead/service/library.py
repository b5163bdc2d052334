"""The models that are known and their files: added and removed, fetched, checked, and what their headers say.

Owns the records of the models (`Model`) and everything about files; starts no worker and decides nothing about memory.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from fairlead import checks
from fairlead.config import Settings
from fairlead.errors import Conflict, DownloadError, FairleadError, InvalidRequest, ModelFileError
from fairlead.gguf import download, hub
from fairlead.gguf.catalogue import Catalogue, entry_for_hub
from fairlead.gguf.shelf import DiskUse
from fairlead.gguf.staging import SourceError
from fairlead.model_entry import HubSource, ModelEntry
from fairlead.service.facts import Facts
from fairlead.service.model import Model, State
from fairlead.service.progress import Pace, Watcher

T = TypeVar("T")

logger = logging.getLogger(__name__)

_AT_REST: tuple[State, ...] = ("available", "downloaded", "failed")


class Library:
    """The models of one server, by name."""

    def __init__(self, settings: Settings, on_idle: Callable[[], None] = lambda: None) -> None:
        """Read the catalogue of these settings; ConfigError where it is wrong. `on_idle` is for each `Model`."""
        self._settings = settings
        self._on_idle = on_idle
        self._catalogue = Catalogue(settings)
        self._models = {entry.name: self._record(entry) for entry in self._catalogue}
        self._seen = self._catalogue.version
        self._taken_in: set[str] = set()

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def find(self, name: str) -> Model:
        """The record of a model; ModelNotFound says what is wrong with a name that is not known."""
        self._refresh()
        return self._models.get(name) or self._models[self._catalogue.find(name).name]

    def locate(self) -> None:
        """Notice models and files that others have put in place or taken away."""
        self._refresh()
        for model in self:
            model.locate(self._catalogue.path(model.entry))

    def matching(self, words: str) -> set[str]:
        """The names of the models that have all these words in what is known of them."""
        return {entry.name for entry in self._catalogue.search(words)}

    def disk_use(self) -> DiskUse:
        """What the models folder takes."""
        return self._catalogue.shelf.disk_use()

    # ---- adding and removing --------------------------------------------------------------------------

    def take_in(self, name_or_file: str) -> str:
        """Make sure that a model, or a file on this machine, is known while this server runs; returns its name.

        For the operator's words alone, never for a name out of a request. Errors as in `Catalogue.resolve`.
        """
        entry = self._catalogue.resolve(name_or_file)
        known = self._models.get(entry.name)
        if known is None or known.entry != entry:
            self._models[entry.name] = self._record(entry)
            self._taken_in.add(entry.name)
        return entry.name

    def add(self, repo: str, file: str, revision: str, name: str | None) -> Model:
        """Add a model of the hub for good.

        Raises:
            InvalidRequest: a field is not what it must be.
            Conflict: another model has the name.
        """
        checked = [("hub", checks.hub_repo, repo), ("file", checks.relative_path, file)]
        checked += [("revision", checks.revision, revision)]
        checked += [("name", checks.model_name, name)] if name is not None else []
        for field, check, value in checked:
            try:
                check(value)
            except ValueError as error:
                raise InvalidRequest(f"The field {field} {error}.", param=field) from None
        entry = self._catalogue.add(entry_for_hub(HubSource(repo, file, revision), name))
        self._refresh()
        return self._models[entry.name]

    async def remove(self, model: Model) -> int:
        """Delete a model's fetched files, and strike it out where it was added; the bytes that gave back.

        Raises:
            Conflict: it is loaded, or something is under way with it.
        """
        busy = model.loading or model.fetching or model.unloading
        if model.state not in _AT_REST or busy is not None:
            raise Conflict(f"The model {model.name} is {model.state}: unload it first.", param="name")
        freed = await _in_thread(lambda: self._catalogue.remove(model.entry))
        model.state = "available"
        model.error = None
        self.locate()
        return freed

    def _refresh(self) -> None:
        self._catalogue.refresh()
        if self._catalogue.version == self._seen:
            return
        self._seen = self._catalogue.version
        entries = {entry.name: entry for entry in self._catalogue}
        for name, entry in entries.items():
            if name not in self._models:
                self._models[name] = self._record(entry)
        known = entries.keys() | self._taken_in
        for name in [model.name for model in self if model.name not in known and model.state in _AT_REST]:
            del self._models[name]

    def _record(self, entry: ModelEntry) -> Model:
        return Model(entry, self._catalogue.path(entry), self._on_idle)

    # ---- files ----------------------------------------------------------------------------------------

    async def facts(self, model: Model) -> Facts:
        """What the model's header says, from the file or else from the hub.

        Raises:
            ModelFileError, UnsupportedModel: the file, or that on the hub, cannot be used.
            DownloadError: the file is not here, and its header cannot be had.
        """
        if model.facts is None:
            path = model.path or self._catalogue.path(model.entry)
            if path is not None:
                model.facts = await asyncio.to_thread(Facts.read, path, self._settings)
            else:
                model.facts = await _in_thread(lambda: _facts_of_hub(model.entry, self._settings))
        return model.facts

    async def file(self, model: Model) -> Path:
        """The path of the model's file, whole and checked, downloaded first where it is not here.

        Whoever asks while it is fetched joins in; who is cancelled leaves the others waiting.

        Raises:
            DownloadError: no source gave it.
            ModelFileError: a file is here, and it is not the one that it should be.
        """
        if model.fetching is None:
            model.fetching = asyncio.create_task(self._get(model), name=f"fetch {model.name}")
            model.fetching.add_done_callback(lambda task: _fetched(model, task))
        return await asyncio.shield(model.fetching)

    async def verify(self, model: Model, on_progress: Watcher | None = None) -> str:
        """Read the model's file through; its SHA-256.

        Raises:
            ModelFileError: it is not what it should be.
            Conflict: the file is not on this machine.
        """
        path = self._catalogue.path(model.entry)
        if path is None:
            raise Conflict(f"The file of {model.name} is not on this machine.", param="name")
        with model.watched_by(on_progress):
            return [await self._prove(model, *part) for part in self._catalogue.shelf.parts(model.entry, path)][-1]

    async def _get(self, model: Model) -> Path:
        path = self._catalogue.path(model.entry)
        if path is None or self._is_cut_short(model.entry, path):
            model.state = "downloading"
            path = await self._download(model)
            model.path, model.facts = path, None
            model.state = "downloaded"
        for part in self._catalogue.shelf.parts(model.entry, path):
            if not self._catalogue.shelf.is_proven(*part):
                await self._prove(model, *part)
        model.path = path
        return path

    def _is_cut_short(self, entry: ModelEntry, path: Path) -> bool:
        """Whether a file of the models folder, which may be fetched anew, has not the size that it must have."""
        return path.parent == self._settings.models_dir and entry.size_bytes not in (None, path.stat().st_size)

    async def _download(self, model: Model) -> Path:
        """Download a model in a thread. Cancelling this stops the thread at its next report of progress."""
        report, stopped = _reporter(model, DownloadError("The download was ended."))
        try:
            return await _in_thread(
                lambda: download.fetch(
                    model.entry, self._settings.models_dir, lambda step: report(step.phase, step.done, step.total)
                )
            )
        finally:
            stopped.set()

    async def _prove(self, model: Model, entry: ModelEntry, path: Path) -> str:
        report, stopped = _reporter(model, ModelFileError("The check was ended."))
        shelf = self._catalogue.shelf
        try:
            return await _in_thread(
                lambda: shelf.prove(entry, path, lambda done, total: report("verifying", done, total))
            )
        finally:
            stopped.set()


def _facts_of_hub(entry: ModelEntry, settings: Settings) -> Facts:
    reasons = []
    for source in entry.sources:
        if isinstance(source, HubSource) and not entry.companions:  # of several files the header alone says too little
            try:
                with hub.read_header(source) as file:
                    return Facts.of(file, settings)
            except SourceError as error:
                reasons.append(f"{source}: {error}")
    why = "; ".join(reasons) or "it has no source on the hub"
    raise DownloadError(f"The header of {entry.name} cannot be read before it is fetched: {why}", param="name")


def _reporter(model: Model, end: FairleadError) -> tuple[Callable[[str, int, int | None], None], threading.Event]:
    """What a thread calls to tell of its progress; once the event is set, the call raises `end` in the thread."""
    loop = asyncio.get_running_loop()
    stopped = threading.Event()
    told = Pace()

    def report(phase: str, done: int, total: int | None) -> None:
        if stopped.is_set():
            raise end
        if step := told.progress(phase, done, total):
            loop.call_soon_threadsafe(model.tell, step)

    return report, stopped


async def _in_thread(work: Callable[[], T]) -> T:
    """Work that may take minutes or hang: in a thread of its own, which holds up neither others nor the end."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def deliver(value: T | None, error: BaseException | None) -> None:
        if result.done():  # nobody waits any more
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]  # a value where there is no error

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as raised:  # noqa: BLE001  (raised again by who waits)
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, value, error)

    threading.Thread(target=run, daemon=True, name="files").start()
    return await result


def _fetched(model: Model, task: asyncio.Task[Path]) -> None:
    """Also where the task was cancelled before it began. Everybody who asked may be gone: the model tells of errors."""
    model.fetching = None
    if model.state == "downloading":
        model.rest()
    error = None if task.cancelled() else task.exception()
    if error is None or model.loading is not None:  # a load tells of its errors itself
        return
    if isinstance(error, FairleadError):
        model.fail(without_folders(error.message, model.path))
    else:
        logger.error("fetching %s failed", model.name, exc_info=error)
        model.fail("It could not be fetched for an unforeseen reason; the server's log has it.")


def without_folders(message: str, path: Path | None) -> str:
    """A message for clients, who are told of no path of the server."""
    return message if path is None else message.replace(str(path), path.name)
