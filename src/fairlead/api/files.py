"""The files of a chat: attach, list, look at, take out again, remove."""

from __future__ import annotations

import contextlib
from datetime import UTC
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse

from fairlead.api.chat_responses import ChatFile, ChatFiles, FileProgress, FileRemoved
from fairlead.api.multipart import FilesRoute, PartBegins, PartEnds, form_events
from fairlead.api.responses import Json
from fairlead.api.schemas import UserName
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, Person, Served
from fairlead.errors import InvalidRequest
from fairlead.service.documents import ChatDocuments, FileStatus
from fairlead.service.uploads import Upload

router = APIRouter(route_class=JsonRoute)
_uploads = APIRouter(route_class=FilesRoute)

_FIELDS: Final = ("file", "files")
_MOST_AT_ONCE: Final = 20
_LARGEST_NUMBER: Final = 2**31 - 1

Number = Annotated[int, Path(ge=1, le=_LARGEST_NUMBER)]


async def chat_of(chat_id: Number, services: Served, person: Person) -> int:
    """The row of the asker's chat. ChatNotFound where they have none of this number."""
    return await services.documents.chat_row(person, chat_id)


Chat = Annotated[int, Depends(chat_of)]


@_uploads.post("/chats/{chat_id}/files", status_code=201, tags=["chats"])
async def attach(
    chat: Chat, request: Request, services: Served, asker: Asker, user: UserName | None = None
) -> Json[ChatFiles]:
    """Attach files, all or none: a form (multipart/form-data) with each in a field named `file`.

    They are parsed aside: `state` goes from `parsing` to `ready`, or to `failed` with the reason in `error`.
    """
    documents, name = services.documents, user or asker
    async with contextlib.AsyncExitStack() as discarding:
        uploads = await received(request, documents, discarding)
        attached = await documents.attach(chat, uploads, partial(services.people.check_storage, name))
    return Json({"files": [file_json(status) for status in attached]}, 201)


router.include_router(_uploads)


@router.get("/chats/{chat_id}/files", tags=["chats"])
async def list_files(chat: Chat, services: Served) -> Json[ChatFiles]:
    """The files of a chat in the order in which they were attached."""
    return Json({"files": [file_json(status) for status in await services.documents.listed(chat)]})


@router.get("/chats/{chat_id}/files/{file_id}", tags=["chats"])
async def look_at_file(chat: Chat, file_id: Number, services: Served) -> Json[ChatFile]:
    """A file's state, and how far it is parsed."""
    return Json(file_json(await services.documents.find(chat, file_id)))


@router.get("/chats/{chat_id}/files/{file_id}/content", tags=["chats"])
async def file_content(chat: Chat, file_id: Number, services: Served) -> FileResponse:
    """The file as it was attached; never to be shown by a browser, whatever it holds."""
    file, path = await services.documents.content(chat, file_id)
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=file.name,
        content_disposition_type="attachment",
        headers={"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"},
    )


@router.delete("/chats/{chat_id}/files/{file_id}", tags=["chats"])
async def remove_file(chat: Chat, file_id: Number, services: Served) -> Json[FileRemoved]:
    """Remove a file, also while it is parsed; the next turn goes without it."""
    await services.documents.remove(chat, file_id)
    return Json({"file_id": file_id, "removed": True})


def file_json(status: FileStatus) -> ChatFile:
    """A file as clients see it."""
    file, stage = status.file, status.stage
    progress: FileProgress | None = None
    if file.state == "parsing" and stage is not None:
        progress = {"phase": stage.phase, "done": stage.done, "total": stage.total}
    return {
        "file_id": file.number,
        "name": file.name,
        "kind": file.kind,
        "size_bytes": file.size_bytes,
        "state": file.state,
        "progress": progress,
        "pages": file.pages,
        "characters": file.characters,
        "error": file.error if file.state == "failed" else None,
        "note": file.error if file.state == "ready" else None,
        "created_at": file.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


async def received(
    request: Request, documents: ChatDocuments, discarding: contextlib.AsyncExitStack, most: int | None = None
) -> list[Upload]:
    """The files of a form, on the disk; discarded with `discarding`. Errors as in `Upload`.

    `most` says how many there may be at most, together no larger than one may be; else they are to be attached.
    """
    uploads: list[Upload] = []
    count = most or _MOST_AT_ONCE
    async with contextlib.aclosing(form_events(request)) as events:
        async for event in events:
            match event:
                case PartBegins(field, name):
                    if field not in _FIELDS:
                        raise _misplaced(field[:100], is_file=name is not None)
                    if name is None:
                        raise InvalidRequest(f"The field {field} must be a file, with a filename.", param=field)
                    if len(uploads) == count:
                        raise InvalidRequest(f"At most {count} files are taken at once.", param=field)
                    uploads.append(documents.upload(name))
                    discarding.push_async_callback(uploads[-1].discard)
                case bytes():
                    await uploads[-1].write(event)
                    if most is not None:
                        documents.check_together(uploads)
                case PartEnds():
                    await uploads[-1].finish()
    if not uploads:
        raise InvalidRequest("The form holds no file: put each in a field named file.", param="file")
    return uploads


def _misplaced(field: str, *, is_file: bool) -> InvalidRequest:
    if is_file:
        return InvalidRequest(f"Files go into fields named file, and not {field}.", param=field)
    return InvalidRequest(
        f"The form takes files alone. Where {field} can be said, it is in the address, as in ?{field}=.", param=field
    )
