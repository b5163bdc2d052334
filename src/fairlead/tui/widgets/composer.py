"""Where a question is written."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.widgets import TextArea

_NEW_LINE = ("ctrl+j", "alt+enter", "shift+enter")


class Composer(TextArea):
    """Text of any length; Enter sends it, Ctrl+J and Alt+Enter begin a new line."""

    @dataclass
    class Sent(Message):
        """The question is to be asked."""

        text: str

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if self.text.strip():
                text = self.text
                self.clear()
                self.post_message(self.Sent(text))
        elif event.key in _NEW_LINE:
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)

    def begin_with(self, text: str) -> None:
        """Have this in front of what is there, to be gone on with."""
        self.text = text + ("\n" + self.text if self.text else "")
        self.move_cursor(self.document.end)
        self.focus()
