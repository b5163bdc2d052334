"""Who is there: a name, or a key where the server has keys; and a server, where none answers."""

from __future__ import annotations

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Button, Footer, Input, Static

from fairlead.client import Unreachable
from fairlead.errors import FairleadError, Unauthorized
from fairlead.tui.saved import SignIn
from fairlead.tui.screens.screen import ProgramScreen
from fairlead.visible import safe


class SignInScreen(ProgramScreen):
    """The first screen."""

    def __init__(self) -> None:
        super().__init__()
        self._secured = False

    def compose(self) -> ComposeResult:
        yield Static("Fairlead", id="title")
        yield Static("", id="said", markup=False)
        with Vertical(id="ask"):
            yield Input(id="who")
            yield Button("Start a server here (it ends with this program)", id="start", variant="primary")
            yield Button("Try again", id="again")
        yield Footer()

    def on_mount(self) -> None:
        """Look whether a server answers."""
        self._offer("nothing")
        self.reach()

    @work(exclusive=True)
    async def reach(self, start: bool = False) -> None:
        """Find the server, started first where that is wished; go on by oneself where it is known who is there."""
        program = self.program
        self._offer("nothing")
        try:
            if start:
                self._say("Starting a server; its model is fetched and loaded first …")
                await program.start_server()
            self._say(f"Looking for {program.url} …")
            await program.client.health()
            self._secured = False
            known, program.known = program.known, None
            try:
                await (program.sign_in(known) if known else program.client.me())
            except Unauthorized as error:
                self._secured = True
                self._say(error.message if known else "")
            else:
                self._say("")
                if known:
                    self._enter()
                    return
        except Unreachable as error:
            self._say(error.message)
            self._offer("server")
        except (FairleadError, TimeoutError, OSError) as error:
            self._say(str(error))
            self._offer("server")
        else:
            self._offer("name")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Sign in."""
        if event.value.strip():
            self._sign_in(event.value.strip())

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Start a server, or look for one again."""
        self.reach(start=event.button.id == "start")

    def action_back(self) -> None:
        """There is nothing behind this screen."""
        self.app.exit()

    @work(exclusive=True)
    async def _sign_in(self, typed: str) -> None:
        try:
            await self.program.sign_in(SignIn(key=typed) if self._secured else SignIn(user=typed))
        except Unauthorized as error:
            self._secured = True
            self._say(error.message)
            self._offer("name")
        except FairleadError as error:
            self._say(error.message)
        else:
            self._enter()

    def _enter(self) -> None:
        from fairlead.tui.screens.menu import MenuScreen

        self._say(f"At {self.program.url} you are {self.program.user}; another name signs in as somebody else.")
        self._offer("name")
        self.app.push_screen(MenuScreen())

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(safe(text))

    def _offer(self, what: str) -> None:
        """Show the field for a name or key, or the buttons for a server, or nothing of it."""
        field = self.query_one("#who", Input)
        field.display = what == "name"
        field.password = self._secured
        field.placeholder = "Your access key" if self._secured else "Your name"
        field.value = ""
        start, again = self.query_one("#start", Button), self.query_one("#again", Button)
        start.display = what == "server" and self.program.starter is not None
        again.display = what == "server"
        if what != "nothing":
            (field if what == "name" else start if start.display else again).focus()
