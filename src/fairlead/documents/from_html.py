"""HTML: what a page says, without its scripts, styles and other things that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lxml import etree, html

from fairlead.documents.from_text import Headings
from fairlead.documents.text import cleaned, decoded
from fairlead.documents.units import Break, Unit, Unreadable

_UNSEEN: Final = frozenset({
    "script", "style", "template", "noscript", "iframe", "object", "embed", "svg", "math", "canvas", "audio", "video",
    "head", "select", "datalist",
})  # fmt: skip
_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS: Final = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "li", "main", "nav", "ol", "p",
    "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul", *_HEADINGS,
})  # fmt: skip
_CELLS: Final = frozenset({"td", "th"})
_SPACE: Final = re.compile(r"[ \t\n\r\f]+")
_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


def html_units(data: bytes, depth: int) -> Iterator[Unit]:
    """The blocks of a page, each with the headings above it."""
    text = _text_of(data)
    if not text.strip():
        return
    parser = html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(text.encode(), parser=parser)
    except etree.LxmlError as error:
        raise Unreadable(f"It is no HTML: {error}.") from None
    title = root.find(".//title")
    if title is not None and title.text and title.text.strip():
        yield Unit(text=_SPACE.sub(" ", title.text).strip() + "\n\n", begins=Break.SECTION)
    yield from _Page(depth).units(root)


class _Page:
    """A page's blocks, in order."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._headings = Headings()
        self._line: list[str] = []

    def units(self, root: html.HtmlElement) -> Iterator[Unit]:
        """Walk through the elements without recursion: a page may be as deep as it likes."""
        level, unseen, preformatted = 0, 0, 0
        for event, element in etree.iterwalk(root, events=("start", "end")):
            tag = element.tag
            if event == "start":
                level += 1
                if level > self._depth:
                    raise Unreadable(f"Its elements are nested deeper than {self._depth} levels.")
                unseen += tag in _UNSEEN
                preformatted += tag == "pre"
                if not unseen:
                    yield from self._begin(tag)
                    self._say(element.text, preformatted > 0)
            else:
                if not unseen:
                    yield from self._end(tag)
                level -= 1
                unseen -= tag in _UNSEEN
                preformatted -= tag == "pre"
                if not unseen:
                    self._say(element.tail, preformatted > 0)
        yield from self._flush()

    def _begin(self, tag: str) -> Iterator[Unit]:
        if tag in _BLOCKS:
            yield from self._flush()
        if tag == "li":
            self._line.append("- ")
        elif tag == "br":
            self._line.append("\n")
        elif tag in _CELLS and self._line:
            self._line.append(" | ")

    def _end(self, tag: str) -> Iterator[Unit]:
        if tag in _HEADINGS:
            self._headings.enter(int(tag[1]), "".join(self._line))
            yield from self._flush(Break.SECTION)
        elif tag == "tr":
            yield from self._flush(end="\n")
        elif tag in _BLOCKS:
            yield from self._flush(end="\n" if tag in ("li", "dt") else "\n\n")

    def _say(self, text: str | None, preformatted: bool) -> None:
        if text:
            self._line.append(text if preformatted else _SPACE.sub(" ", text))

    def _flush(self, begins: Break = Break.PARAGRAPH, end: str = "\n\n") -> Iterator[Unit]:
        text = cleaned("".join(self._line)).strip("\n ")
        self._line = []
        if text.strip(" -|\n\t"):
            yield Unit(text=text + end, begins=begins, heading=str(self._headings))


def _text_of(data: bytes) -> str:
    """By the encoding that the page names, where that fits; else as any text."""
    named = _CHARSET.search(data[:4096])
    if named is not None and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            return cleaned(data.decode(named[1].decode()))
        except (LookupError, UnicodeError):
            pass
    return decoded(data)
