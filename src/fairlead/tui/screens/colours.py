"""Colours: of the person's words and the model's, and the theme, shown as they would look."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from fairlead.tui.looks import COLOURS, THEMES
from fairlead.tui.screens.screen import ProgramScreen

_NAMES = {"person": "Your words", "model": "The model's words", "theme": "Theme"}


class ColoursScreen(ProgramScreen):
    """Up and down choose what is coloured, left and right its colour; what is shown is kept."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", "Before"),
        Binding("right,enter", "turn(1)", "Next", priority=True),
    ]

    def compose(self) -> ComposeResult:
        yield Static("Colours", id="title")
        yield OptionList(*(Option("", id=key) for key in _NAMES))
        with Vertical(id="preview"):
            yield Static("You", classes="who")
            yield Static("How tall is the Eiffel Tower?", id="mine")
            yield Static("Model", classes="who")
            yield Static("It is 330 metres tall, its antennas included.", id="theirs")
        yield Footer()

    def on_mount(self) -> None:
        self._show()
        self.query_one(OptionList).focus()

    def action_turn(self, step: int) -> None:
        """The colour or theme behind or before the one that is shown."""
        chosen = self.query_one(OptionList).highlighted or 0
        key = list(_NAMES)[chosen]
        ways = THEMES if key == "theme" else tuple(COLOURS)
        now = getattr(self.program.look, key)
        place = ways.index(now) if now in ways else 0
        look = msgspec.structs.replace(self.program.look, **{key: ways[(place + step) % len(ways)]})
        self.program.show_look(look, keep=True)
        self._show()

    def _show(self) -> None:
        look = self.program.look
        options = self.query_one(OptionList)
        for key, name in _NAMES.items():
            options.replace_option_prompt(key, f"{name:<20}‹ {getattr(look, key)} ›")
        for place, name in (("#mine", look.person), ("#theirs", look.model)):
            styles = self.query_one(place, Static).styles
            colour = self.program.colour(name)
            if colour is None:
                styles.clear_rule("color")
            else:
                styles.color = colour
