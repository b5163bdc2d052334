"""What all screens have in common: the program they belong to, and Escape."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.screen import Screen

if TYPE_CHECKING:
    from fairlead.tui.app import ChatApp


class ProgramScreen(Screen[None]):
    """A screen of the terminal program."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back")]

    @property
    def program(self) -> ChatApp:
        """The program, in its own type."""
        return cast("ChatApp", self.app)

    def keep(self) -> None:
        """Keep what was begun here; called before the screen or the program is left."""

    def action_back(self) -> None:
        """To the screen before."""
        self.keep()
        self.app.pop_screen()
