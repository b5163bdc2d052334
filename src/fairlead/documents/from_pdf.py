"""PDF: the text of each page, and which pages hold none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from fairlead.documents.from_text import Headings, lines_of
from fairlead.documents.text import cleaned
from fairlead.documents.units import Break, Unit, Unreadable

_HYPHEN = re.compile("[\x02\ufffe]\r?\n?")
"""How PDFium marks a hyphen at the end of a line whose word goes on in the next."""
_SENTENCE_END = re.compile(r"""[.!?:]["'”’)\]]*\s*$""")
_SHORT_LINE = 0.8
"""Of the page's usual width: a line that ends a sentence before this ends a paragraph."""
_MOST_BOOKMARKS = 10_000


class PdfText:
    """A PDF's pages as units, and when these are through what of the file held no text.

    Args:
        data: the file.
        most_pages: a file with more is refused.
        on_page: called with the pages done and the pages in all.

    Raises:
        Unreadable: it is encrypted, damaged or too long.
    """

    def __init__(self, data: bytes, most_pages: int, on_page: Callable[[int, int], None]) -> None:
        try:
            self._document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
                raise Unreadable("It is encrypted: attach a copy without a password.") from None
            if error.err_code == pdfium_c.FPDF_ERR_SECURITY:
                raise Unreadable("It is encrypted in a way that is not known here.") from None
            raise Unreadable("It is no PDF that can be read: it is damaged or cut short.") from None
        self.pages = len(self._document)
        if not self.pages:
            raise Unreadable("It is a PDF without pages: damaged or cut short.")
        if self.pages > most_pages:
            raise Unreadable(f"It has {self.pages} pages; at most {most_pages} are taken.")
        self._on_page = on_page
        self._pictures: list[int] = []
        self._blank: list[int] = []
        self._broken: list[int] = []

    def units(self) -> Iterator[Unit]:
        """The paragraphs of each page, under the bookmarks that lead to it."""
        bookmarks = self._bookmarks()
        headings, following = Headings(), 0
        for index in range(self.pages):
            while following < len(bookmarks) and bookmarks[following][0] <= index:
                headings.enter(*bookmarks[following][1:])
                following += 1
            text = self._text(index)
            if text.strip():
                yield from _paragraphs(text, str(headings), index + 1)
            self._on_page(index + 1, self.pages)

    @property
    def note(self) -> str | None:
        """What of it holds no text, as a sentence; None where all does, or what does not is empty."""
        told = []
        if self._pictures:
            are = _plural(self._pictures, "is an image", "are images")
            told.append(f"{_listed(self._pictures)} {are} without text")
        if self._broken:
            told.append(f"{_listed(self._broken)} could not be read")
        if not told:
            return None
        sentence = "; ".join(told)
        return f"{sentence[0].upper()}{sentence[1:]}."

    def _text(self, index: int) -> str:
        try:
            page = self._document[index]
        except pdfium.PdfiumError:
            self._broken.append(index + 1)
            return ""
        try:
            textpage = page.get_textpage()
            text = cleaned(_HYPHEN.sub("", textpage.get_text_bounded()))
            textpage.close()
            if not text.strip():
                images = page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=4)
                (self._pictures if any(True for _ in islice(images, 1)) else self._blank).append(index + 1)
        except pdfium.PdfiumError:
            self._broken.append(index + 1)
            return ""
        finally:
            page.close()
        return text if text.endswith("\n") else text + "\n"

    def _bookmarks(self) -> list[tuple[int, int, str]]:
        """Page from 0, level and title of each, in the pages' order."""
        found = []
        for bookmark in islice(self._document.get_toc(), _MOST_BOOKMARKS):
            destination = bookmark.get_dest()
            page = None if destination is None else destination.get_index()
            if page is not None:
                found.append((page, bookmark.level, cleaned(bookmark.get_title())))
        return sorted(found, key=lambda item: item[0])


def _paragraphs(text: str, heading: str, page: int) -> Iterator[Unit]:
    """A page's text, cut where a sentence ends in a line that is shorter than usual."""
    lines = lines_of(text)
    lengths = sorted(len(line) for line in lines)
    short = _SHORT_LINE * lengths[len(lengths) * 3 // 4]
    gathered: list[str] = []
    for line in lines:
        gathered.append(line)
        if len(line) < short and _SENTENCE_END.search(line):
            yield Unit(text="".join(gathered), begins=Break.PARAGRAPH, heading=heading, page=page)
            gathered = []
    if gathered:
        yield Unit(text="".join(gathered), begins=Break.PARAGRAPH, heading=heading, page=page)


def _listed(pages: Sequence[int]) -> str:
    """Such as "pages 3-7 and 9"."""
    runs = [[page for _, page in run] for _, run in groupby(enumerate(pages), lambda item: item[1] - item[0])]
    told = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    if len(told) > 20:
        told = [*told[:20], f"{len(told) - 20} more"]
    listed = told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
    return f"{_plural(pages, 'page', 'pages')} {listed}"


def _plural(pages: Sequence[int], one: str, several: str) -> str:
    return one if len(pages) == 1 else several
