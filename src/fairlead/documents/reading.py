"""A file's bytes to its passages: which reader is whose, and the limits that hold for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fairlead.documents.cutting import cut
from fairlead.documents.kinds import CODE_KINDS
from fairlead.documents.messages import Limits, Passage, Read
from fairlead.documents.units import Unit, Unreadable

OnPage = Callable[[int, int], None]


class Reading:
    """One file: iterate over its passages, then ask for the end.

    Readers are imported when a file is theirs: a process reads one file, and each reader takes its time to import.
    """

    def __init__(self, kind: str, data: bytes, limits: Limits, on_page: OnPage) -> None:
        self._kind = kind
        self._data = data
        self._limits = limits
        self._on_page = on_page
        self._characters = 0
        self._spoken = False
        self._pages: int | None = None
        self._note: Callable[[], str | None] = lambda: None

    def passages(self) -> Iterator[Passage]:
        """The passages. Unreadable where the file cannot be read, or holds no text."""
        yield from cut(self._counted(self._units()))
        if not self._spoken:
            note = self._note()
            raise Unreadable(f"It holds no text{f': {note[0].lower()}{note[1:]}' if note else '.'}")

    def end(self) -> Read:
        """What came of it, once the passages are through."""
        return Read(self._characters, self._pages, self._note())

    def _counted(self, units: Iterator[Unit]) -> Iterator[Unit]:
        for unit in units:
            self._characters += len(unit.text)
            if self._characters > self._limits.characters:
                raise Unreadable(f"It holds more than {self._limits.characters:,} characters of text, the most taken.")
            self._spoken = self._spoken or not unit.text.isspace()
            yield unit

    def _units(self) -> Iterator[Unit]:
        kind, data, limits = self._kind, self._data, self._limits
        if kind == "pdf":
            from fairlead.documents.from_pdf import PdfText  # noqa: PLC0415

            pdf = PdfText(data, limits.pages, self._on_page)
            self._pages, self._note = pdf.pages, lambda: pdf.note
            return pdf.units()
        if kind == "docx":
            from fairlead.documents.from_docx import docx_units  # noqa: PLC0415

            return docx_units(data, limits)
        if kind == "html":
            from fairlead.documents.from_html import html_units  # noqa: PLC0415

            return html_units(data, limits.depth)
        return _text_units(kind, data, limits)


def _text_units(kind: str, data: bytes, limits: Limits) -> Iterator[Unit]:
    from fairlead.documents import from_code, from_csv, from_json, from_text, text  # noqa: PLC0415

    content = text.decoded(data)
    if kind in CODE_KINDS:
        return from_code.code_units(content, kind)
    if kind == "markdown":
        return from_text.marked_up_units(content)
    if kind in ("csv", "tsv"):
        return from_csv.table_units(content, "\t" if kind == "tsv" else None)
    if kind == "json":
        return from_json.json_units(content, limits.depth) if content.strip() else iter(())
    if kind == "json lines":
        return from_csv.line_units(content)
    return from_text.plain_units(content)
