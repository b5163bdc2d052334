"""Small questions in front of a screen: a line of text, or yes and no."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from fairlead.tui.paths import completed
from fairlead.visible import safe


class PathInput(Input):
    """A path; Tab completes it."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "tab":
            event.stop()
            event.prevent_default()
            self.value = completed(self.value)
            self.cursor_position = len(self.value)
        else:
            await super()._on_key(event)


class Asking(ModalScreen[str | None]):
    """Asks for a line; None where it was left with Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back")]

    def __init__(self, question: str, value: str = "", *, path: bool = False) -> None:
        super().__init__()
        self._question = question
        kind = PathInput if path else Input
        self._input = kind(value, select_on_focus=False)

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(safe(self._question), markup=False)
            yield self._input
            completes = "Tab completes · " if isinstance(self._input, PathInput) else ""
            yield Label(f"{completes}Enter: do it · Escape: leave it")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the line."""
        self.dismiss(event.value.strip() or None)

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)


class Confirming(ModalScreen[bool]):
    """Asks yes or no; Escape is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]
    DEFAULT_CSS = "Confirming { align: center middle; }"

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(safe(self._question), markup=False)
            yield Label("y: yes · n or Escape: no")

    def action_answer(self, agreed: bool) -> None:
        """Take the answer."""
        self.dismiss(agreed)
