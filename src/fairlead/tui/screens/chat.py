"""A chat: its turns, the answer that comes in, and where the next question is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar, Final

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from fairlead.chat_client import Told
from fairlead.chat_info import Chat, ChatMessage
from fairlead.client import Unreachable
from fairlead.errors import FairleadError, NotFound
from fairlead.file_client import ChatFiles
from fairlead.tui.answering import AWAY, Answering, cut_line, remarks
from fairlead.tui.screens.asking import Asking
from fairlead.tui.screens.screen import ProgramScreen
from fairlead.tui.widgets.composer import Composer
from fairlead.tui.widgets.turns import AnswerView, Question
from fairlead.visible import safe

_FRAME_S: Final = 0.1
"""How often what has come is drawn."""
_COUNT_S: Final = 0.5
"""How often the server is asked how many tokens there are."""
_TURNS_SHOWN: Final = 40
_LOOK_AGAIN_S: Final = 1.0


class ChatScreen(ProgramScreen):
    """A chat, or with None a new one, which the first question makes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "stop", "Stop", priority=True),
        Binding("ctrl+r", "regenerate", "Again", priority=True),
        Binding("ctrl+e", "edit", "Edit", priority=True),
        Binding("ctrl+o", "attach", "Attach", priority=True),
        Binding("ctrl+y", "copy", "Copy", priority=True),
        Binding("ctrl+j", "new_line", "New line", key_display="^j/alt+enter"),
        Binding("f4", "earlier", "Earlier", show=False),
    ]

    def __init__(self, chat_id: int | None) -> None:
        super().__init__()
        self.chat_id = chat_id
        self.answering: Answering | None = None
        self._view: AnswerView | None = None
        self._questions: list[tuple[int, str]] = []
        self._edits: int | None = None
        self._made = chat_id is not None
        """Whether the server has the chat; of a new one there is only a number, kept for it."""
        self._asked = ""
        """The question that was sent and is not known to be stored."""
        self._shown = _TURNS_SHOWN

    def compose(self) -> ComposeResult:
        yield Static("A new chat", id="status", markup=False)
        yield VerticalScroll(id="turns")
        yield Composer(placeholder="Type a message; Enter sends it", soft_wrap=True, tab_behavior="focus")
        yield Footer()

    def on_mount(self) -> None:
        """Show what the chat holds, and what was begun in it."""
        self._turns.anchor()
        self._composer.begin_with(self.program.draft(self.chat_id))
        self.set_interval(_FRAME_S, self._draw)
        self.set_interval(_COUNT_S, self._count)
        if self.chat_id is not None:
            self._open()

    @property
    def _turns(self) -> VerticalScroll:
        return self.query_one("#turns", VerticalScroll)

    @property
    def _composer(self) -> Composer:
        return self.query_one(Composer)

    # ---- what is done -----------------------------------------------------------------------------------

    def on_composer_sent(self, event: Composer.Sent) -> None:
        """Ask."""
        if self.answering is not None:
            self._composer.begin_with(event.text)
            self.program.say("An answer is coming in: Ctrl+S stops it.")
            return
        self._ask(event.text)

    def on_key(self, event: events.Key) -> None:
        """Typing begins a message, wherever the focus is; so does `e`."""
        if event.is_printable and event.character and not self._composer.has_focus:
            event.stop()
            self._composer.focus()
            if event.key != "e":
                self._composer.insert(event.character)

    def keep(self) -> None:
        """Keep the message that was begun, and the question that the server may not have."""
        begun = self._composer.text
        if self._edits is not None and begun == self._questions[-1][1]:
            begun = ""
        text = "\n".join(text for text in (self._asked, begun) if text)
        self.program.keep_draft(self.chat_id if self._made else None, text)

    def action_back(self) -> None:
        """Stop the answer; where none comes in, leave an edit, or the chat, which keeps what was begun."""
        if self.answering is not None:
            self.action_stop()
        elif self._edits is not None:
            self._edits = None
            self._composer.clear()
            self._say("The question stays as it is.")
        else:
            super().action_back()

    def action_new_line(self) -> None:
        """For where the field has no focus."""
        self._composer.focus()

    @work(group="stop")
    async def action_stop(self) -> None:
        """End the answer; what has come stays."""
        if self.answering is None:
            return
        started = self.answering.started
        if started is None or started.id is None or self.answering.away:  # there is nobody to be told
            self.workers.cancel_group(self, "answer")
            return
        try:
            await self.program.client.cancel(started.id)
        except NotFound:
            pass  # it has ended by itself
        except Unreachable:
            self.workers.cancel_group(self, "answer")
            self._say("The server is away.")
        except FairleadError as error:
            self.program.tell(error)

    def action_regenerate(self) -> None:
        """Have the last question answered again."""
        if self.answering is None and self._questions and self.chat_id is not None:
            if self._view is not None:
                self._view.remove()
            number = self._questions[-1][0]
            self._follow(self.program.chats.regenerate(self.chat_id, number), None)

    def action_edit(self) -> None:
        """Take the last question up again, to ask it in other words."""
        if self.answering is None and self._questions:
            self._edits, text = self._questions[-1]
            self._composer.clear()
            self._composer.begin_with(text)
            self._say("Enter asks the edited question; Escape leaves it as it was.")

    def action_copy(self) -> None:
        """The last answer, to the clipboard of the person's own terminal."""
        if self._view is not None and self._view.text:
            self.app.copy_to_clipboard(self._view.text)
            self.program.say("The answer is in the clipboard, where your terminal allows it.")

    def action_attach(self) -> None:
        """Ask for a file."""
        self.app.push_screen(Asking("Attach which file?", path=True), self._on_path)

    def action_earlier(self) -> None:
        """Show what lies further back."""
        if self.answering is None and self.chat_id is not None:
            self._shown += 10 * _TURNS_SHOWN
            self._open()

    # ---- what the server is asked ---------------------------------------------------------------------

    @work(group="answer")
    async def _ask(self, text: str) -> None:
        program, edited, self._asked = self.program, self._edits, text
        try:
            if self.chat_id is None:
                self.chat_id = await program.chats.next_id()
        except FairleadError as error:
            self._give_back()
            program.tell(error)
            return
        self._edits = None
        if edited is None:
            await self._turns.mount(Question(text, program.colour(program.look.person)))
            self._follow(program.chats.generate(self.chat_id, text), text)
        else:
            self._follow(program.chats.edit(self.chat_id, edited, text), text, anew=True)

    @work(group="answer")
    async def _follow(self, told: AsyncGenerator[Told], text: str | None, *, anew: bool = False) -> None:
        """Show an answer as it comes in; `text` is its question, given back where the server did not take it.

        With `anew` the turns are another branch's from now on, and are asked for when it has ended.
        """
        answering = self.answering = Answering()
        view = await self._new_view()
        self._turns.anchor()
        error: FairleadError | None = None
        try:
            async with aclosing(told):
                async for step in told:
                    answering.take(step)
                    if self._asked and answering.started is not None:
                        self._stored()
            await view.grow(answering.undrawn())
        except FairleadError as problem:
            error = problem
        finally:
            self.answering = None
            if self.is_attached:  # else the program ends, and has kept it
                self._give_back()
        if error is None and answering.ended is not None and not anew:
            ended = answering.ended
            self._say(answering.line())
            view.end(ended.model or "model", remarks(ended.context, ended.sources, ended.files.notes))
            if text is not None and ended.user_message_id is not None:
                self._questions.append((ended.user_message_id, text))
            return
        if error is not None:
            self.program.tell(error)
        self._open(answering.line() if error is None else None)

    def _stored(self) -> None:
        """The server has the question, and with it the chat: what was kept of it is forgotten."""
        self._asked = ""
        if not self._made:
            self.program.keep_draft(None, "")
            self._made = True
        self.keep()

    def _give_back(self) -> None:
        """Have the question that was not stored in the field again."""
        text, self._asked = self._asked, ""
        if text:
            self._composer.begin_with(text)

    @work(group="answer")
    async def _open(self, line: str | None = None) -> None:
        """Show the chat as the server has it, as soon as it answers, and take up an answer that goes on in it."""
        assert self.chat_id is not None
        while True:
            try:
                chat = await self.program.chats.open(self.chat_id)
                break
            except Unreachable:
                self._say(f"{AWAY} …")
                await asyncio.sleep(_LOOK_AGAIN_S)
            except FairleadError as error:
                if not isinstance(error, NotFound) or self._questions:
                    self.program.tell(error)
                await self._turns.remove_children()  # a question that was refused was to make the chat
                self._view = None
                return
        await self._show(chat)
        self._say(line or f"{chat.chat_id} · {chat.title}")
        if chat.running is not None:
            self._follow(self.program.chats.follow(self.chat_id), None)

    @work(group="count", exclusive=True)
    async def _count(self) -> None:
        answering = self.answering
        if answering is None or answering.started is None or answering.away:
            return
        try:
            models = (await self.program.client.queue(self.program.asks_as)).models
        except FairleadError:
            return  # the answer's own stream tells what is wrong
        for request in (request for model in models for request in model.requests):
            if request.id == answering.started.id:
                answering.count(request.completion_tokens)

    def _on_path(self, path: str | None) -> None:
        if path is not None:
            self._take_file(Path(path).expanduser())

    @work(group="files")
    async def _take_file(self, file: Path) -> None:
        program = self.program
        try:
            content = await asyncio.to_thread(file.read_bytes)
            if self.chat_id is None:
                self.chat_id = (await program.chats.create()).chat_id
                program.keep_draft(None, "")
                self._made = True
            files = ChatFiles(program.client, self.chat_id, program.asks_as)
            (attached,) = await files.attach({file.name: content})
            self._say(f"Reading {attached.name} …")
            attached = await files.settled(attached.file_id)
        except OSError as error:
            program.say(f"{file}: {error.strerror}", error=True)
        except FairleadError as error:
            program.tell(error)
        else:
            self._say(f"{attached.name}: {attached.error or attached.note or 'attached'}")

    # ---- what is drawn ----------------------------------------------------------------------------------

    async def _draw(self) -> None:
        """What has come since the last frame, in one piece."""
        if self.answering is not None and self._view is not None:
            self._say(self.answering.line() + " · Escape stops")
            await self._view.grow(self.answering.undrawn())

    async def _new_view(self) -> AnswerView:
        self._view = AnswerView("…", "", self.program.colour(self.program.look.model))
        await self._turns.mount(self._view)
        return self._view

    async def _show(self, chat: Chat) -> None:
        """All turns anew; an answer that goes on is left to the one who follows it."""
        messages = [message for message in chat.messages if message.state != "generating"]
        self._questions = [(message.message_id, message.content) for message in messages if message.role == "user"]
        shown = messages[-self._shown :]
        views: list[Static | Question | AnswerView] = [self._turn(message) for message in shown]
        self._view = next((view for view in reversed(views) if isinstance(view, AnswerView)), None)
        if len(shown) < len(messages):
            views.insert(0, Static(f"{len(messages) - len(shown)} earlier messages: F4 shows more", classes="remarks"))
        await self._turns.remove_children()
        await self._turns.mount_all(views)

    def _turn(self, message: ChatMessage) -> Question | AnswerView:
        program = self.program
        if message.role == "user":
            return Question(message.content, program.colour(program.look.person))
        said = remarks(message.context, message.sources, message.files.notes)
        said = f"{cut_line(message)}\n{said}".strip()
        return AnswerView(message.model or "model", message.content, program.colour(program.look.model), said)

    def _say(self, line: str) -> None:
        self.query_one("#status", Static).update(safe(line))
