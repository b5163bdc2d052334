"""Models: which there are, what they take, and their loading and leaving."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from fairlead.errors import DoesNotFit, FairleadError
from fairlead.model_info import LoadProgress, ModelInfo
from fairlead.tui.screens.screen import ProgramScreen
from fairlead.visible import safe

_REFRESH_S: Final = 1.0


class ModelsScreen(ProgramScreen):
    """The list, kept as it is on the server."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "load", "Load"),
        Binding("u", "unload", "Unload"),
        Binding("s", "switch", "Switch to (Enter)"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._models: list[ModelInfo] = []
        self._away = False

    def compose(self) -> ComposeResult:
        yield DataTable[Text](cursor_type="row", zebra_stripes=True)
        yield Static("", id="said", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Columns that 80 hold."""
        for name, width in (("", 1), ("Model", 28), ("State", 16), ("Memory", 9), ("File", 9)):
            self._table.add_column(name, width=width)
        self._look()
        self.set_interval(_REFRESH_S, self._look)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    @property
    def _chosen(self) -> str | None:
        row = self._table.cursor_row
        return self._models[row].name if 0 <= row < len(self._models) else None

    def on_data_table_row_selected(self) -> None:
        """Enter switches."""
        self.action_switch()

    def action_load(self) -> None:
        """Load it beside the others."""
        if self._chosen is not None:
            self._load(self._chosen, switch=False)

    def action_switch(self) -> None:
        """Load it where it is not, and have it answer from now on."""
        if self._chosen is not None:
            self._load(self._chosen, switch=True)

    def action_unload(self) -> None:
        """Give its memory back."""
        if self._chosen is not None:
            self._unload(self._chosen)

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            found = await self.program.client.models()
        except FairleadError as error:
            if not self._away:
                self._say(error.message)
            self._away = True
            return
        if self._away:
            self._say("The server is back.")
        self._away = False
        if found.models != self._models:
            row = self._table.cursor_row
            self._models = found.models
            self._table.clear()
            for model in self._models:
                self._table.add_row(*_cells(model))
            self._table.move_cursor(row=min(max(row, 0), max(0, len(self._models) - 1)))

    @work(group="change")
    async def _load(self, name: str, *, switch: bool) -> None:
        client = self.program.client
        try:
            async for step in client.load_model(name):
                if isinstance(step, LoadProgress):
                    self._say(f"{name}: {progress_line(step)}")
            if switch:
                await client.set_model(name)
        except DoesNotFit as error:
            self._say(f"{name} does not fit: {error.message}")
        except FairleadError as error:
            self._say(f"{name}: {error.message}")
        else:
            self._say(f"{name} answers from now on." if switch else f"{name} is loaded.")
        self._look()

    @work(group="change")
    async def _unload(self, name: str) -> None:
        self._say(f"{name}: unloading, once its answers have ended …")
        try:
            await self.program.client.unload_model(name)
        except FairleadError as error:
            self._say(f"{name}: {error.message}")
        else:
            self._say(f"{name} has left; its memory is free.")
        self._look()

    def _say(self, line: str) -> None:
        self.query_one("#said", Static).update(safe(line))


def progress_line(step: LoadProgress) -> str:
    """A phase, a bar of twenty places, and what is left."""
    if not step.total:
        return f"{step.phase} …"
    share = min(1.0, step.bytes / step.total)
    line = f"{step.phase} {'█' * round(20 * share):░<20} {share:.0%} of {_size(step.total)}"
    return line + (f", {step.eta_ms / 1000:.0f} s left" if step.eta_ms else "")


def _size(nbytes: int | None) -> str:
    if nbytes is None:
        return ""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if nbytes >= unit:
            return f"{nbytes / unit:.{1 if name == 'GB' else 0}f} {name}"
    return f"{nbytes / 1e3:.0f} kB"


def _cells(model: ModelInfo) -> list[Text]:
    """A model's row; memory is what it takes now, else what it is expected to take."""
    memory = model.memory
    taken = _size(memory.used_bytes or None)
    if not taken and (expected := memory.measured_bytes or memory.estimated_bytes):
        taken = f"~{_size(expected)}"
    state = model.state + (", pinned" if model.pinned else "")
    if model.progress is not None and model.progress.total:
        state += f" {model.progress.bytes / model.progress.total:.0%}"
    return [
        Text("●" if model.active else ""),
        Text(safe(model.name), overflow="ellipsis", no_wrap=True),
        Text(state),
        Text(taken, justify="right"),
        Text(_size(model.size_bytes), justify="right"),
    ]
