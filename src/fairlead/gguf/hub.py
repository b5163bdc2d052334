"""One file from the Hugging Face hub, through its own client, continued where an earlier try stopped.

`huggingface_hub` gives addresses, tokens, metadata and the meaning of errors; the bytes are received here,
because its own download starts anew each time. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when the hub's client is imported

from huggingface_hub import (
    HfFileMetadata,
    errors,
    get_hf_file_metadata,
    get_session,
    get_token,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]  # httpx's, or httpx2's
from huggingface_hub.errors import Response  # type: ignore[attr-defined]  # of the same

from fairlead.errors import ModelFileError
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.staging import Progress, Report, SourceError, Staging
from fairlead.model_entry import HubSource

_TIMEOUT_S = 5.0
"""For the metadata: for each address tried, to connect and to answer."""
_REACH_TIMEOUT_S = 15.0
"""For all of that: a network that swallows packets must not hold up the next source for long."""
_STALL_TIMEOUT_S = 30.0
_HEADER_TRIES = (2 << 20, 8 << 20, 32 << 20, 128 << 20)
"""Bytes fetched to read a header; a vocabulary of 150,000 tokens takes six million."""
_TRIES = 4
"""In a row without a single new byte."""
_BACKOFF_S = 0.25
"""Before the second try; doubled for each further one."""


def download(source: HubSource, staging: Staging, pinned: str | None, report: Report) -> tuple[Path, str | None]:
    """The whole file as a partial file, not yet verified, and its SHA-256: pinned, else as the hub says.

    SourceError says why the hub did not give it; OSError is of the local disk.
    """
    with _explained(source):
        metadata = _metadata(_url(source, source.revision))
        if metadata.size is None or metadata.etag is None:
            raise SourceError("did not say what the file is: its answer lacks the size or the etag")
        of_hub = metadata.etag if re.fullmatch(r"[0-9a-f]{64}", metadata.etag) else None
        if pinned and of_hub and pinned != of_hub:
            raise SourceError(f"has another file there (SHA-256 {of_hub[:12]}…, not {pinned[:12]}…)")
        part = staging.part(re.sub(r"[^A-Za-z0-9]", "", metadata.etag))
        if _size(part) > metadata.size:
            part.unlink()
        staging.require_space(metadata.size - _size(part))
        _receive(_url(source, metadata.commit_hash or source.revision), part, metadata.size, report)
    return part, pinned or of_hub


def read_header(source: HubSource) -> GGUFFile:
    """The file as far as its header goes, fetched in growing ranges; the data of its tensors must not be read.

    Raises:
        SourceError: why the hub did not give it.
        ModelFileError, UnsupportedModel: as `GGUFFile.open` does.
    """
    with _explained(source), tempfile.TemporaryDirectory() as folder:
        metadata = _metadata(_url(source, source.revision))
        if metadata.size is None:
            raise SourceError("did not say what the file is: its answer lacks the size")
        url = _url(source, metadata.commit_hash or source.revision)
        beginning = Path(folder) / PurePosixPath(source.file).name
        beginning.touch()
        for fetched in _HEADER_TRIES:
            _receive_beginning(url, beginning, min(fetched, metadata.size))
            os.truncate(beginning, metadata.size)  # the rest is a hole, which takes no space
            try:
                file = GGUFFile.open(beginning)
            except ModelFileError:
                if fetched >= metadata.size or not _begins_as_gguf(beginning):
                    raise  # else it may have read on into the hole
            else:
                if file.header_size <= fetched:
                    return file
                file.close()
            os.truncate(beginning, min(fetched, metadata.size))
    raise SourceError(f"has a file whose header is damaged, or takes more than {_HEADER_TRIES[-1]} bytes")


def _begins_as_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _receive_beginning(url: str, part: Path, size: int) -> None:
    """Let `part` hold the first `size` bytes; it holds some of them already."""
    have = _size(part)
    with _request(url, f"bytes={have}-{size - 1}") as response, part.open("ab") as file:
        skip = 0 if response.status_code == 206 else have  # the whole file, whatever range was asked for
        for chunk in response.iter_bytes():
            file.write(chunk[skip : skip + size - file.tell()])
            skip = max(0, skip - len(chunk))
            if file.tell() == size:
                return
    raise SourceError("sent less than the range asked for")


def _url(source: HubSource, revision: str) -> str:
    endpoint = os.environ.get("HF_ENDPOINT") or None
    return hf_hub_url(source.repo, source.file, revision=revision, endpoint=endpoint)


def _metadata(url: str) -> HfFileMetadata:
    """What the hub says of the file; SourceError where it says nothing in time."""
    answer: Future[HfFileMetadata] = Future()

    def ask() -> None:
        try:
            answer.set_result(get_hf_file_metadata(url, timeout=_TIMEOUT_S, library_name="fairlead"))
        except Exception as error:  # noqa: BLE001  (raised again in the thread that waits)
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name="hub-metadata").start()
    try:
        return answer.result(_REACH_TIMEOUT_S)
    except TimeoutError:
        raise SourceError(f"the hub did not answer within {_REACH_TIMEOUT_S:.0f} s") from None


def _receive(url: str, part: Path, size: int, report: Report) -> None:
    """Fill `part` up to `size` bytes, taking up again after each cut as long as something comes."""
    tries = 0
    while (before := _size(part)) < size:
        report(Progress("downloading", before, size))
        failure: Exception = SourceError("sent less than the whole file")
        try:
            _receive_once(url, part, size, report)
        except TransportError as error:
            if not _passes(error):
                raise
            failure = error
        tries = 0 if _size(part) > before else tries + 1
        if tries == _TRIES:
            raise failure
        if tries:
            time.sleep(_BACKOFF_S * 2 ** (tries - 1))


def _receive_once(url: str, part: Path, size: int, report: Report) -> None:
    done = _size(part)
    with _request(url, f"bytes={done}-" if done else None) as response:
        if response.status_code != 206:  # the whole file, whatever range was asked for
            done = 0
        with part.open("ab" if done else "wb") as file:
            for chunk in response.iter_bytes():
                done += len(chunk)
                if done > size:
                    raise SourceError(f"sent more than the {size} bytes that it had said")
                file.write(chunk)
                report(Progress("downloading", done, size))


@contextmanager
def _request(url: str, of_range: str | None) -> Iterator[Response]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "fairlead"}
    if token := get_token():
        headers["Authorization"] = f"Bearer {token}"
    if of_range:
        headers["Range"] = of_range
    with get_session().stream("GET", url, headers=headers, timeout=_STALL_TIMEOUT_S) as response:
        hf_raise_for_status(response)
        yield response


def _passes(error: TransportError) -> bool:
    """Whether it may be gone at the next try: cut connections, overload, but no refusals."""
    if not isinstance(error, errors.HfHubHTTPError):
        return True
    return error.response.status_code in (408, 429) or error.response.status_code >= 500


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    try:
        yield
    except errors.GatedRepoError as error:
        raise SourceError("needs its licence accepted on the hub, and your token in HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError("does not exist, or is private and HF_TOKEN holds no token for it") from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"has no revision {source.revision}") from error
    except errors.EntryNotFoundError as error:
        raise SourceError(f"has no file {source.file}") from error
    except errors.HfHubHTTPError as error:
        raise SourceError(f"the hub answered with status {error.response.status_code}") from error
    except errors.OfflineModeIsEnabled as error:
        raise SourceError("the hub is not asked: HF_HUB_OFFLINE is set") from error
    except TransportError as error:
        raise SourceError(f"the hub cannot be reached ({str(error) or type(error).__name__})") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
