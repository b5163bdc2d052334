"""Every error that Fairlead raises on purpose.

    FairleadError
    ├── InvalidRequest          a request that cannot be right as it stands; names the field
    │   └── PromptTooLong       the prompt and its answer do not fit the model's context
    ├── NotFound
    │   ├── ModelNotFound
    │   ├── ChatNotFound
    │   ├── MessageNotFound     no such message in this chat
    │   └── RequestNotFound     nothing is running under this id
    ├── Conflict                the thing is in another state than the call needs
    ├── ModelFileError          a model file that is damaged or lies about itself
    │   └── UnsupportedModel    a sound file, of an architecture or format that is not built in
    ├── FileTooLarge            an attached file is larger than files may be
    ├── UnsupportedFile         an attached file is of a kind that is not read
    ├── UnreadableFile          an attached file is not what its name says
    ├── DownloadError           a model could not be fetched from any of its sources
    ├── DoesNotFit              not enough memory; says what is needed and what is there
    ├── Unauthorized            no access key, or none that is valid
    ├── TokensUsedUp            the user had all tokens of this day; says when the next begins
    ├── StorageUsedUp           the user's files and collections take all the room that is theirs
    ├── QueueFull               too much is waiting already; says when to come back
    ├── ModelNotReady           the model is not loaded, or no model is active
    ├── Draining                the server is shutting down
    ├── EngineFailed            the worker of a model died or answered nonsense
    ├── StorageFailed           the database or the folder of files cannot be used now
    │   └── StorageFull         there is no room left to write; what is stored can be read
    └── ConfigError             fairlead.toml, a flag or an environment variable is wrong

They speak of the field, not of HTTP: `api/errors.py` holds the one table that maps them to statuses.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar


class FairleadError(Exception):
    """An error with a stable code for programs and a message for people.

    Attributes:
        code: stable, in snake case; part of the API's contract.
        param: the name of the field at fault, where there is one.
        details: figures that help to act on the error, as JSON values.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.details = dict(details or {})


class InvalidRequest(FairleadError):
    """A request that cannot be right as it stands."""

    code = "invalid_request"


class PromptTooLong(InvalidRequest):
    """The prompt does not fit the model's context."""

    code = "prompt_too_long"


class NotFound(FairleadError):
    """What was asked for does not exist, or not for this user."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No model of this name is known."""

    code = "model_not_found"


class ChatNotFound(NotFound):
    """The user has no chat of this number."""

    code = "chat_not_found"


class MessageNotFound(NotFound):
    """The chat has no message of this number."""

    code = "message_not_found"


class RequestNotFound(NotFound):
    """Nothing is queued or running under this id."""

    code = "request_not_found"


class Conflict(FairleadError):
    """The thing is in another state than the call needs."""

    code = "conflict"


class ModelFileError(FairleadError):
    """A model file that is damaged, cut short, or contradicts itself."""

    code = "model_file_invalid"


class UnsupportedModel(ModelFileError):
    """A sound model file that needs something which is not built in; the message names it."""

    code = "model_unsupported"


class FileTooLarge(FairleadError):
    """An attached file is larger than files may be."""

    code = "file_too_large"


class UnsupportedFile(FairleadError):
    """An attached file is of a kind that is not read; the message names those that are."""

    code = "file_unsupported"


class UnreadableFile(FairleadError):
    """An attached file is not what its name says, or is two things at once."""

    code = "file_unreadable"


class DownloadError(FairleadError):
    """A model could not be fetched from any of its sources, or did not match its checksum."""

    code = "download_failed"


class DoesNotFit(FairleadError):
    """Not enough memory: `details` holds what is required and what is available, in bytes."""

    code = "insufficient_memory"


class Unauthorized(FairleadError):
    """The server asks for an access key, and there was none, or none that is valid."""

    code = "unauthorized"


class TokensUsedUp(FairleadError):
    """The user had all tokens of this day: `details` holds how many, and `retry_after_s`."""

    code = "tokens_used_up"


class StorageUsedUp(FairleadError):
    """The user's files and collections take all the room that is theirs: `details` holds the figures, in bytes."""

    code = "storage_used_up"


class QueueFull(FairleadError):
    """Too much is waiting already."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, details={"retry_after_s": retry_after_s})
        self.retry_after_s = retry_after_s


class ModelNotReady(FairleadError):
    """The model is not loaded, or no model is active."""

    code = "model_not_ready"


class Draining(FairleadError):
    """The server is shutting down and takes nothing new."""

    code = "server_draining"


class EngineFailed(FairleadError):
    """The worker of a model died, or answered what it must not."""

    code = "engine_failed"


class StorageFailed(FairleadError):
    """The database, or the folder of files, cannot be used now."""

    code = "storage_failed"


class StorageFull(StorageFailed):
    """There is no room left to write; what is stored can be read."""

    code = "storage_full"


class ConfigError(FairleadError):
    """`fairlead.toml`, a flag or an environment variable is wrong; says where and what."""

    code = "config_invalid"


def error_from(
    code: str, message: str, *, param: str | None = None, details: Mapping[str, object] | None = None
) -> FairleadError:
    """The error that was told of by its code; EngineFailed for a code that is none's."""
    if code == QueueFull.code:
        after = (details or {}).get("retry_after_s")
        return QueueFull(message, retry_after_s=float(after) if isinstance(after, int | float) else 1.0)
    return _by_code().get(code, EngineFailed)(message, param=param, details=details)


@functools.cache
def _by_code() -> Mapping[str, type[FairleadError]]:
    kinds: dict[str, type[FairleadError]] = {}
    unseen: list[type[FairleadError]] = [FairleadError]
    while unseen:
        kind = unseen.pop()
        kinds[kind.code] = kind
        unseen += kind.__subclasses__()
    return kinds
