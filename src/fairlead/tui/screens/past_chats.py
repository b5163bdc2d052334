"""Past chats: found, opened, renamed, deleted and written to files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static

from fairlead.chat_info import ListedChat
from fairlead.errors import FairleadError
from fairlead.tui.paths import file_name
from fairlead.tui.screens.asking import Asking, Confirming
from fairlead.tui.screens.screen import ProgramScreen
from fairlead.visible import safe


class PastChatsScreen(ProgramScreen):
    """The list, the newest first; a number and Enter open a chat, words look for it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search"),
        Binding("f2,r", "rename", "Rename"),
        Binding("delete,d", "delete", "Delete"),
        Binding("x", "export", "Export"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._chats: list[ListedChat] = []
        self._more = False

    def compose(self) -> ComposeResult:
        yield Input(placeholder="A chat's number, or words to look for", id="words")
        yield DataTable[Text](cursor_type="row", zebra_stripes=True)
        yield Static("", id="said", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Columns that 80 hold."""
        for name, width in (("No.", 5), ("Title", 42), ("Last", 16), ("Messages", 8)):
            self._table.add_column(name, width=width)
        self._table.focus()

    def on_screen_resume(self) -> None:
        """What is there now: a chat that was open has changed."""
        self._find()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    @property
    def _chosen(self) -> ListedChat | None:
        row = self._table.cursor_row
        return self._chats[row] if 0 <= row < len(self._chats) else None

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look for the words; a number alone is the number of a chat."""
        if not event.value.strip().isdecimal():
            self._find()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Open the chat of this number, or go to what was found."""
        typed = event.value.strip()
        if typed.isdecimal():
            self._open(int(typed))
        else:
            self._table.focus()

    def on_key(self, event: events.Key) -> None:
        """Digits begin a number."""
        field = self.query_one("#words", Input)
        if event.character and event.character.isdecimal() and not field.has_focus:
            event.stop()
            field.focus()
            field.value = event.character
            field.cursor_position = 1

    def on_data_table_row_selected(self) -> None:
        """Open the chat."""
        if self._chosen is not None:
            self._show(self._chosen.chat_id)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Ask for more where the list's end is reached."""
        if self._more and event.cursor_row >= len(self._chats) - 1:
            self._more = False
            self._find(further=True)

    def action_search(self) -> None:
        """To the field."""
        self.query_one("#words", Input).focus()

    def action_rename(self) -> None:
        """Ask for another title."""
        if (chat := self._chosen) is not None:

            def rename(title: str | None) -> None:
                if title is not None:
                    self._rename(chat.chat_id, title)

            self.app.push_screen(Asking(f"A title for chat {chat.chat_id}", chat.title), rename)

    def action_delete(self) -> None:
        """Ask whether it is meant."""
        if (chat := self._chosen) is not None:

            def delete(agreed: bool | None) -> None:
                if agreed:
                    self._delete(chat.chat_id)

            question = f"Delete chat {chat.chat_id}, “{chat.title}”, with its files? It cannot be taken back."
            self.app.push_screen(Confirming(question), delete)

    def action_export(self) -> None:
        """Ask for a file's name."""
        if (chat := self._chosen) is not None:

            def export(path: str | None) -> None:
                if path is not None:
                    self._export(chat.chat_id, path)

            name = file_name(chat.title, chat.chat_id)
            self.app.push_screen(Asking(f"Write chat {chat.chat_id} to which file?", name, path=True), export)

    def _show(self, chat_id: int) -> None:
        from fairlead.tui.screens.chat import ChatScreen

        self.app.push_screen(ChatScreen(chat_id))

    @work(exclusive=True, group="open")
    async def _open(self, chat_id: int) -> None:
        try:
            await self.program.chats.open(chat_id)
        except FairleadError as error:
            self.program.tell(error)
        else:
            self._show(chat_id)

    @work(exclusive=True, group="find")
    async def _find(self, *, further: bool = False) -> None:
        words = self.query_one("#words", Input).value.strip()
        before = self._chats[-1].chat_id if further else None
        try:
            page = await self.program.chats.page("" if words.isdecimal() else words, before=before)
        except FairleadError as error:
            self.program.tell(error)
            return
        row = self._table.cursor_row
        self._more = page.more
        self._chats = [*self._chats, *page.chats] if further else page.chats
        self._table.clear()
        for chat in self._chats:
            self._table.add_row(*_cells(chat))
        self._table.move_cursor(row=min(row, max(0, len(self._chats) - 1)))
        found = "nothing was found" if words else "no chats yet"
        self.query_one("#said", Static).update(f"{len(self._chats)} chats" if self._chats else found)

    @work(group="change")
    async def _rename(self, chat_id: int, title: str) -> None:
        try:
            await self.program.chats.change(chat_id, title=title)
        except FairleadError as error:
            self.program.tell(error)
        self._find()

    @work(group="change")
    async def _delete(self, chat_id: int) -> None:
        try:
            await self.program.chats.delete(chat_id)
        except FairleadError as error:
            self.program.tell(error)
        else:
            self.program.keep_draft(chat_id, "")
        self._find()

    @work(group="change")
    async def _export(self, chat_id: int, path: str) -> None:
        try:
            content = await self.program.chats.export(chat_id)
            await asyncio.to_thread(_write_new, path, content)
        except FairleadError as error:
            self.program.tell(error)
        except FileExistsError:
            self.program.say(f"{path} is there already, and stays as it is.", error=True)
        except OSError as error:
            self.program.say(f"{path}: {error.strerror}", error=True)
        else:
            self.program.say(f"Written to {path}.")


def _write_new(path: str, content: bytes) -> None:
    with Path(path).expanduser().open("xb") as file:
        file.write(content)


def _cells(chat: ListedChat) -> list[Text]:
    """A chat's row; where words were found in a message, what they stand in is told behind the title."""
    title = safe(chat.title).replace("\n", " ")
    if chat.match is not None and chat.match.message_id is not None:
        title += " · " + safe(chat.match.excerpt).replace("\n", " ")
    return [
        Text(str(chat.chat_id), justify="right"),
        Text(title, overflow="ellipsis", no_wrap=True),
        Text(chat.updated_at[:16].replace("T", " ")),
        Text(str(chat.message_count), justify="right"),
    ]
