"""The terminal program: who has signed in where, and the way from screen to screen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Final

from textual.app import App
from textual.driver import Driver

from fairlead.chat_client import Chats
from fairlead.client import FairleadClient
from fairlead.errors import FairleadError
from fairlead.tui.looks import COLOURS, OWN_COLOURS, THEMES
from fairlead.tui.saved import Look, Saved, SignIn
from fairlead.tui.screens.screen import ProgramScreen
from fairlead.tui.screens.sign_in import SignInScreen
from fairlead.visible import safe

Starter = Callable[[], AbstractAsyncContextManager[str]]
"""Starts a server that ends with the context, which is its URL."""

_STYLE: Final = """
#title { padding: 1 2; text-style: bold; }
#status { height: 1; padding: 0 1; background: $panel; color: $text; text-wrap: nowrap; text-overflow: ellipsis; }
#said { padding: 0 2; color: $text-muted; height: auto; }
#ask { padding: 1 2; height: auto; }
#ask Button { margin: 1 0; }
OptionList { border: none; margin: 0 2; height: 1fr; }
DataTable { height: 1fr; }
#turns { padding: 0 1; }
.who { text-style: bold; margin-top: 1; }
.remarks { color: $text-muted; margin: 0 2; }
Markdown { padding: 0; margin: 0; background: transparent; }
Composer { height: auto; min-height: 3; max-height: 8; border: round $primary; }
Asking { align: center middle; }
#box { width: 70; max-width: 96%; height: auto; border: round $primary; padding: 1 2; background: $surface; }
ChatApp:ansi .option-list--option-highlighted { text-style: bold underline; }  /* reverse is not drawn in a list */
ChatApp:ansi .datatable--cursor { color: ansi_default; background: ansi_default; text-style: bold reverse; }
ChatApp:ansi .datatable--header { text-style: bold underline; }
#preview { height: auto; padding: 1 2; border: round $primary; margin: 0 2 1 2; }
"""


class ChatApp(App[None]):
    """`fairlead chat`.

    Args:
        url: the server's address.
        home: the folder in which the sign-in and the colours are kept.
        user: a name that is signed in at once.
        key: a key that is signed in at once.
        starter: starts a server at `url`; None where none can be started.
        driver: of the terminal; None is Textual's own.
        few_colours: draw with the terminal's own sixteen, or with none where Textual finds NO_COLOR.
    """

    CSS = _STYLE
    TITLE = "Fairlead"
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        url: str,
        home: Path,
        *,
        user: str | None = None,
        key: str | None = None,
        starter: Starter | None = None,
        driver: type[Driver] | None = None,
        few_colours: bool = False,
    ) -> None:
        super().__init__(driver_class=driver, ansi_color=few_colours or None)
        self._few_colours = few_colours
        if few_colours:
            self.theme = OWN_COLOURS
        self.url = url
        self.starter = starter
        self.saved = Saved(home)
        self.known = SignIn(user, key) if user or key else self.saved.sign_in(url)
        self.user = ""
        self._asks_as: str | None = None
        self._look = Look()
        self._client: FairleadClient | None = None
        self._owned = AsyncExitStack()

    def on_mount(self) -> None:
        self.push_screen(SignInScreen())

    def exit(self, *arguments: Any, **named: Any) -> None:
        """End, with what was begun kept."""
        for screen in self.screen_stack:
            if isinstance(screen, ProgramScreen):
                screen.keep()
        super().exit(*arguments, **named)

    async def on_unmount(self) -> None:
        if self._client is not None:
            await self._client.close()
        await self._owned.aclose()

    @property
    def client(self) -> FairleadClient:
        """The server, as the one who signed in; before that, as nobody."""
        if self._client is None:
            self._client = FairleadClient(self.url)
        return self._client

    @property
    def chats(self) -> Chats:
        """The chats of the one who signed in."""
        return Chats(self.client, self._asks_as)

    @property
    def asks_as(self) -> str | None:
        """The name that goes with requests; None where a key says it."""
        return self._asks_as

    @property
    def look(self) -> Look:
        """The colours of the one who signed in."""
        return self._look

    async def start_server(self) -> None:
        """Start a server, which ends with this program."""
        assert self.starter is not None
        await self._owned.enter_async_context(self.starter())

    async def sign_in(self, sign_in: SignIn) -> None:
        """Become this person.

        Raises:
            Unauthorized: the server asks for a key, or for another.
        """
        client = FairleadClient(self.url, sign_in.key)
        try:
            me = await client.me(sign_in.user)
        except BaseException:
            await client.close()
            raise
        if self._client is not None:
            await self._client.close()
        self._client, self.user = client, me.user
        self._asks_as = None if me.secured else me.user
        self.saved.keep_sign_in(self.url, sign_in)
        self.show_look(self.saved.look(self.user))

    def show_look(self, look: Look, *, keep: bool = False) -> None:
        """Draw everything in these colours, and remember them where they are to be kept."""
        self._look = look
        if look.theme in THEMES and not self._few_colours:
            self.theme = look.theme
        if keep:
            self.saved.keep_look(self.user, look)

    def colour(self, name: str) -> str | None:
        """A colour to draw with; None is the theme's own."""
        return COLOURS.get(name)

    def draft(self, chat_id: int | None) -> str:
        """What was begun and not sent in a chat, or with None in a new one."""
        return self.saved.draft(self.url, self.user, chat_id)

    def keep_draft(self, chat_id: int | None, text: str) -> None:
        """Remember what was begun, for this run and later ones; an empty text forgets it."""
        try:
            self.saved.keep_draft(self.url, self.user, chat_id, text)
        except OSError as error:
            self.say(f"What was begun is not kept: {error.strerror}", error=True)

    def tell(self, error: FairleadError) -> None:
        """Show what went wrong."""
        self.say(error.message, error=True)

    def say(self, message: str, *, error: bool = False) -> None:
        """A word that goes away by itself."""
        self.notify(safe(message), severity="error" if error else "information", timeout=8, markup=False)
