"""The main menu."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from fairlead.tui.screens.screen import ProgramScreen
from fairlead.visible import safe


class MenuScreen(ProgramScreen):
    """Where to go from here."""

    def compose(self) -> ComposeResult:
        yield Static("Fairlead", id="title")
        yield Static(safe(f"{self.program.user} at {self.program.url}"), id="said", markup=False)
        yield OptionList(
            Option("New chat", id="new"),
            Option("Past chats", id="past"),
            Option("Models", id="models"),
            Option("Colours", id="colours"),
            Option("Quit", id="quit"),
        )
        yield Footer()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open what was chosen; each screen is imported when it is first opened, so that the program starts fast."""
        match event.option_id:
            case "new":
                from fairlead.tui.screens.chat import ChatScreen

                self.app.push_screen(ChatScreen(None))
            case "past":
                from fairlead.tui.screens.past_chats import PastChatsScreen

                self.app.push_screen(PastChatsScreen())
            case "models":
                from fairlead.tui.screens.models import ModelsScreen

                self.app.push_screen(ModelsScreen())
            case "colours":
                from fairlead.tui.screens.colours import ColoursScreen

                self.app.push_screen(ColoursScreen())
            case _:
                self.app.exit()
