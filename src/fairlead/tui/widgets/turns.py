"""Questions and answers as they are drawn."""

from __future__ import annotations

from typing import Final

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Markdown, Static

from fairlead.visible import safe

LINES_SHOWN: Final = 200
"""Of one question; those of a long paste are kept, and counted."""


class Question(Vertical):
    """What a person asked, as it was typed."""

    DEFAULT_CSS = "Question { height: auto; }"

    def __init__(self, text: str, colour: str | None) -> None:
        super().__init__()
        self.text = text
        self._colour = colour

    def compose(self) -> ComposeResult:
        lines = safe(self.text).split("\n")
        if len(lines) > LINES_SHOWN:
            lines[LINES_SHOWN:] = [f"… and {len(lines) - LINES_SHOWN} more lines"]
        yield Static("You", classes="who", markup=False)
        said = Static("\n".join(lines), markup=False)
        if self._colour:
            said.styles.color = self._colour
        yield said


class AnswerView(Vertical):
    """What a model answered, as Markdown; it grows while the answer does."""

    DEFAULT_CSS = "AnswerView { height: auto; }"

    def __init__(self, model: str, text: str, colour: str | None, remarks: str = "") -> None:
        super().__init__()
        self.text = text
        self._who = Static(safe(model), classes="who", markup=False)
        self._body = Markdown(safe(text), open_links=False)
        self._remarks = Static(remarks, classes="remarks", markup=False)
        self._remarks.display = bool(remarks)
        if colour:
            self._body.styles.color = colour

    def compose(self) -> ComposeResult:
        yield self._who
        yield self._body
        yield self._remarks

    async def grow(self, piece: str) -> None:
        """Draw a further piece of the answer, which is safe already."""
        if piece:
            self.text += piece
            await self._body.append(piece)

    def end(self, model: str, remarks: str) -> None:
        """Show whose it is, and what there is to say of it."""
        self._who.update(safe(model))
        self._remarks.update(remarks)
        self._remarks.display = bool(remarks)
