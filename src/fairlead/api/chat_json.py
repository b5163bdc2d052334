"""Chats as JSON values and as Markdown: as people read them, and as they are taken out whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from fairlead.api import chat_responses as responses
from fairlead.service.answer_log import Place
from fairlead.service.chats import Archive, Chat, File, Listed, Match, Message, Opened, Page
from fairlead.service.reports import public


def moment(time: datetime) -> str:
    """A time in RFC 3339, in UTC."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def page_json(page: Page) -> responses.ChatPage:
    """A part of a list of chats."""
    return {"chats": [_listed(chat, page.matches.get(chat.id)) for chat in page.chats], "more": page.more}


def chat_json(opened: Opened) -> responses.Chat:
    """A chat with the messages of the branch that is shown, and where to take up the answer that goes on."""
    chat, live = opened.chat, opened.live
    running: responses.Running | None = None
    if live is not None:
        place = Place(live.number, live.log.length)
        running = {"id": live.id, "message_id": live.number, "event_id": str(place)}
    return {
        "chat_id": chat.number,
        **_settings(chat),
        "created_at": moment(chat.created_at),
        "updated_at": moment(chat.updated_at),
        "message_count": len(opened.messages),
        "leaf": opened.number_of(chat.leaf_id),
        "running": running,
        "messages": messages_json(opened),
    }


def messages_json(opened: Opened, *, every: bool = False) -> list[responses.Message]:
    """The messages of the branch that is shown, or of every branch."""
    numbers = {message.id: message.number for message in opened.messages}
    siblings, live = opened.siblings, opened.live
    told: list[responses.Message] = []
    for message in opened.messages if every else opened.shown:
        grown = live.text if live is not None and live.row == message.id else message.content
        told.append(
            {
                **_message(message, numbers, grown),
                **public(message.report),
                "siblings": list(siblings[message.parent_id]),
            }
        )
    return told


def archive_json(taken: Archive) -> responses.ExportedChat:
    """A chat whole: all branches, all that was told with answers, and what is known of its files."""
    chat = taken.chat
    numbers = {message.id: message.number for message in taken.messages}
    return {
        "format": "fairlead-chat",
        "version": 1,
        **_settings(chat),
        "leaf": numbers.get(chat.leaf_id) if chat.leaf_id is not None else None,
        "created_at": moment(chat.created_at),
        "updated_at": moment(chat.updated_at),
        "messages": [
            {
                **_message(message, numbers, message.content),
                "report": None if message.report is None else public(message.report),
            }
            for message in taken.messages
        ],
        "files": [_file(file) for file in taken.files],
    }


def archive_markdown(taken: Archive) -> str:
    """The branch that is shown, to be read. What people and models wrote stands as it is."""
    return "\n\n".join(_markdown(Opened(taken.chat, taken.messages))) + "\n"


def _listed(chat: Listed, match: Match | None) -> responses.ListedChat:
    told: responses.ListedChat = {
        "chat_id": chat.number,
        "title": chat.title,
        "created_at": moment(chat.created_at),
        "updated_at": moment(chat.updated_at),
        "message_count": chat.message_count,
        "preview": chat.preview,
    }
    if match is not None:
        told["match"] = {"message_id": match.message, "excerpt": match.excerpt}
    return told


def _settings(chat: Chat) -> responses.ChatSettings:
    return {
        "title": chat.title,
        "titled_by": chat.titled_by,
        "system": chat.system,
        "model": chat.model,
        "parameters": cast(responses.Parameters, dict(chat.parameters)),  # stored as they were checked on their way in
        "on_overflow": chat.on_overflow,
    }


def _message(message: Message, numbers: Mapping[int, int], content: str) -> responses.StoredMessage:
    return {
        "message_id": message.number,
        "parent": None if message.parent_id is None else numbers[message.parent_id],
        "role": message.role,
        "content": content,
        "state": message.state,
        "finish_reason": message.finish_reason,
        "model": message.model,
        "created_at": moment(message.created_at),
        "finished_at": None if message.finished_at is None else moment(message.finished_at),
    }


def _file(file: File) -> responses.ExportedFile:
    return {
        "file_id": file.number,
        "name": file.name,
        "kind": file.kind,
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
        "state": file.state,
        "error": file.error,
        "pages": file.pages,
        "characters": file.characters,
        "created_at": moment(file.created_at),
    }


def _markdown(opened: Opened) -> Iterator[str]:
    yield f"# {opened.chat.title or 'Chat'}"
    if opened.chat.system:
        yield "\n".join(f"> {line}".rstrip() for line in opened.chat.system.splitlines())
    for message in opened.shown:
        who = "You" if message.role == "user" else message.model or "Answer"
        yield f"## {who}"
        if message.content:
            yield message.content
        if message.state != "complete":
            yield "*(cut off)*"
        yield from _footnotes(message)


def _footnotes(message: Message) -> Iterator[str]:
    report = message.report or {}
    context = report.get("context", {})
    if context.get("dropped_messages"):
        yield f"*({context['dropped_messages']} older messages were not given to the model.)*"
    if context.get("summarized_messages"):
        yield f"*({context['summarized_messages']} older messages were given as a summary.)*"
    if report.get("sources"):
        yield "\n".join(["Sources:", "", *(f"- {_where(source)}" for source in report["sources"])])


def _where(source: Mapping[str, Any]) -> str:
    page, first, last = source.get("page"), source.get("line_from"), source.get("line_to")
    parts = [str(source["name"]), f"page {page}" if page else "", f"lines {first}–{last}" if first and last else ""]
    return ", ".join(part for part in parts if part)
