"""The routes of chats, and the four of the contract that do the same for one who keeps to them.

A question is answered by a stream that begins when it is stored. Closing it does not end the answer: it goes on for a
while and can be taken up again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query

from fairlead.api import errors
from fairlead.api.chat_json import archive_json, archive_markdown, chat_json, messages_json, page_json
from fairlead.api.chat_responses import (
    Chat,
    ChatDeleted,
    ChatEvents,
    ChatNumber,
    ChatPage,
    ExportedChat,
    ImportedChat,
    Messages,
)
from fairlead.api.chat_schemas import ArchivedChat, Asked, ChangedChat, ChatFields, GenerateBody, SendBody
from fairlead.api.errors import ErrorResponse
from fairlead.api.responses import EncodedJson, Json, Markdown
from fairlead.api.schemas import UserName
from fairlead.api.security import JsonRequest, JsonRoute
from fairlead.api.services import Asker, Person, RequestId, Served, Services
from fairlead.api.sse import EventStream, ends_in_error, event
from fairlead.errors import FairleadError
from fairlead.service.answer_log import Place
from fairlead.service.conversations import Question
from fairlead.service.live import Told


class _WholeChat(JsonRequest):
    most_bytes = 8 << 20


class _WholeChatRoute(JsonRoute):
    request_class = _WholeChat


router = APIRouter(route_class=JsonRoute, tags=["chats"])
_whole_chats = APIRouter(route_class=_WholeChatRoute)

_MOST_LISTED = 200

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=1, le=_MOST_LISTED)]
Words = Annotated[str, Query(max_length=1000)]
Before = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


# ---- the contract's four --------------------------------------------------------------------------


@router.get("/next_chat_id")
async def next_chat_id(services: Served, asker: Asker, user: UserName | None = None) -> Json[ChatNumber]:
    """A number for a new chat, reserved for this user; the chat is made by the first `POST /generate` with it."""
    person = await services.person(asker, user)
    return Json({"chat_id": await services.chats.reserve(person)})


@router.post("/generate")
async def generate(
    body: GenerateBody, services: Served, request_id: RequestId, asker: Asker
) -> EventStream[ChatEvents]:
    """Ask in a chat, made now where its number is reserved: `start`, `token` events, then one of `done` and `error`."""
    return await _ask(body, body.chat_id, body.question(), services, request_id, asker)


@router.get("/history")
async def history(
    services: Served, person: Person, q: Words = "", limit: Limit = 50, before: Before = None
) -> Json[ChatPage]:
    """The user's chats, the newest first; with `q`, those in which its words are found."""
    page = await services.chats.listing(person, words=q, limit=limit, before=before)
    return EncodedJson(page_json(page))


@router.get("/fetch")
async def fetch(services: Served, person: Person, chat_id: Annotated[int, Query(ge=1, le=2**31 - 1)]) -> Json[Chat]:
    """A chat with its messages."""
    return EncodedJson(chat_json(await services.chats.open(person, chat_id)))


# ---- chats ----------------------------------------------------------------------------------------


@router.get("/chats")
async def list_chats(
    services: Served, person: Person, q: Words = "", limit: Limit = 50, before: Before = None
) -> Json[ChatPage]:
    """As `GET /history`."""
    return await history(services, person, q, limit, before)


@router.post("/chats", status_code=201)
async def create_chat(body: ChatFields, services: Served, asker: Asker) -> Json[Chat]:
    """Make a chat."""
    person = await services.person(asker, body.user)
    return EncodedJson(chat_json(await services.chats.create(person, **body.settings())), 201)


@_whole_chats.post("/chats/import", status_code=201)
async def import_chat(
    body: ArchivedChat, services: Served, asker: Asker, user: UserName | None = None
) -> Json[ImportedChat]:
    """Make a chat of one that was exported as JSON. Its files do not come along."""
    person = await services.person(asker, user)
    opened = await services.chats.take_in(person, body.archive())
    return EncodedJson({**chat_json(opened), "files_left_out": len(body.files)}, 201)


router.include_router(_whole_chats)


@router.get("/chats/{chat_id}")
async def read_chat(chat_id: Number, services: Served, person: Person) -> Json[Chat]:
    """As `GET /fetch`."""
    return EncodedJson(chat_json(await services.chats.open(person, chat_id)))


@router.patch("/chats/{chat_id}")
async def change_chat(chat_id: Number, body: ChangedChat, services: Served, asker: Asker) -> Json[Chat]:
    """Rename a chat, set it up anew, or show another of its branches."""
    person = await services.person(asker, body.user)
    return EncodedJson(chat_json(await services.chats.change(person, chat_id, body.settings())))


@router.delete("/chats/{chat_id}")
async def delete_chat(chat_id: Number, services: Served, person: Person) -> Json[ChatDeleted]:
    """Delete a chat with its messages and files; an answer that goes on in it is ended."""
    await services.chats.remove(person, chat_id)
    return Json({"chat_id": chat_id, "deleted": True})


@router.get("/chats/{chat_id}/messages")
async def read_messages(
    chat_id: Number, services: Served, person: Person, branches: Literal["shown", "all"] = "shown"
) -> Json[Messages]:
    """The messages of the branch that is shown, or of all."""
    opened = await services.chats.open(person, chat_id)
    return EncodedJson({"chat_id": chat_id, "messages": messages_json(opened, every=branches == "all")})


@router.post("/chats/{chat_id}/messages")
async def send(
    chat_id: Number, body: SendBody, services: Served, request_id: RequestId, asker: Asker
) -> EventStream[ChatEvents]:
    """Ask in a chat, ask otherwise, or have a question answered again; streamed as by `POST /generate`."""
    return await _ask(body, chat_id, body.question(), services, request_id, asker)


@router.get("/chats/{chat_id}/stream")
async def follow(
    chat_id: Number,
    services: Served,
    person: Person,
    after: Annotated[str | None, Query(max_length=40)] = None,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> EventStream[ChatEvents]:
    """Take up an answer behind an event, else the one that goes on, or the last, from its beginning."""
    place = after or last_event_id
    number, told = await services.conversations.follow(person, chat_id, Place.parse(place) if place else None)
    return _stream(number, told)


@router.get("/chats/{chat_id}/export")
async def export_chat(
    chat_id: Number,
    services: Served,
    person: Person,
    kind: Annotated[Literal["md", "json"], Query(alias="format")] = "md",
) -> Json[ExportedChat] | Markdown:
    """Take a chat out: `json` is all of it, `md` the branch that is shown."""
    taken = await services.chats.take_out(person, chat_id)
    headers = {
        "Content-Disposition": f'attachment; filename="chat-{chat_id}.{kind}"',
        "X-Content-Type-Options": "nosniff",
    }
    if kind == "json":
        return EncodedJson(archive_json(taken), headers=headers)
    return Markdown(archive_markdown(taken), headers=headers)


# ---- how they are told ----------------------------------------------------------------------------


async def _ask(
    body: Asked, number: int, question: Question, services: Services, request_id: str, asker: str
) -> EventStream[ChatEvents]:
    person = await services.person(asker, body.user)
    live = await services.conversations.ask(person, number, question, body.drawn(asker), request_id)
    return _stream(live.number, live.events())


def _stream(number: int, told: AsyncGenerator[Told, None]) -> EventStream[ChatEvents]:
    def failure(error: ErrorResponse) -> bytes:
        return event(str(Place(number, 0)), "error", error)

    return EventStream(ends_in_error(_events(number, told), failure), on_close=told.aclose)


async def _events(number: int, told: AsyncGenerator[Told, None]) -> AsyncGenerator[bytes, None]:
    async for item in told:
        data = errors.body_of(item.data) if isinstance(item.data, FairleadError) else item.data
        yield event(str(Place(number, item.characters)), item.name, data)
