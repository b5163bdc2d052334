"""Word documents: headings, paragraphs and tables in the order in which they stand."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

import docx
from docx.document import Document
from docx.table import Table, _Cell
from docx.text.paragraph import Paragraph
from lxml import etree

from fairlead.documents.from_text import Headings
from fairlead.documents.messages import Limits
from fairlead.documents.text import cleaned
from fairlead.documents.units import Break, Unit, Unreadable

_BODY = "word/document.xml"
_SMALL_BYTES = 8 << 20
"""What unpacks to less may be packed as tightly as it likes."""
_HEADING = re.compile(r"(?:heading|title|subtitle)\s*(\d?)", re.IGNORECASE)
_DEEPEST_TABLE = 8


def docx_units(data: bytes, limits: Limits) -> Iterator[Unit]:
    """The blocks of a document, each with the headings above it."""
    _check_archive(data, limits)
    try:
        document = docx.Document(BytesIO(data))
    except (ValueError, KeyError, etree.LxmlError, zipfile.BadZipFile, NotImplementedError) as error:
        raise Unreadable(f"It is no Word document that can be read: {_told(error)}.") from None
    yield from _blocks(document)


def _blocks(document: Document) -> Iterator[Unit]:
    headings = Headings()
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            for row in _rows(block, _DEEPEST_TABLE):
                yield Unit(text=row + "\n", heading=str(headings))
            continue
        text = cleaned(block.text).strip()
        if not text:
            continue
        level = _heading_level(block)
        if level is not None:
            headings.enter(level, text)
        listed = block.style is not None and (block.style.name or "").startswith("List")
        yield Unit(
            text=f"- {text}\n" if listed else f"{text}\n\n",
            begins=Break.PARAGRAPH if level is None else Break.SECTION,
            heading=str(headings),
        )


def _heading_level(paragraph: Paragraph) -> int | None:
    found = _HEADING.match((paragraph.style.name or "") if paragraph.style is not None else "")
    return None if found is None else int(found[1] or 0)


def _rows(table: Table, deepest: int) -> Iterator[str]:
    """A line for each row; a cell that spans several is told once in each row."""
    for row in table.rows:
        seen: list[object] = []
        texts = []
        for cell in row.cells:
            if cell._tc not in seen:
                seen.append(cell._tc)
                texts.append(_cell_text(cell, deepest))
        yield " | ".join(texts)


def _cell_text(cell: _Cell, deepest: int) -> str:
    parts = []
    for block in cell.iter_inner_content():
        if isinstance(block, Paragraph):
            parts.append(block.text)
        elif deepest:
            parts += _rows(block, deepest - 1)
    return " ".join(cleaned(" ".join(parts)).split())


def _check_archive(data: bytes, limits: Limits) -> None:
    """See what unpacking would come to before anything is unpacked: the directory's sizes bind `zipfile` too."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > limits.members:
                raise Unreadable(f"It holds {len(members)} parts; at most {limits.members} are taken.")
            unpacked = sum(member.file_size for member in members)
            if unpacked > limits.unpacked_bytes:
                raise Unreadable(f"It unpacks to {unpacked >> 20} MB; at most {limits.unpacked_bytes >> 20} are taken.")
            if unpacked > max(_SMALL_BYTES, len(data) * limits.unpacked_ratio):
                raise Unreadable(f"It grows {unpacked // len(data)} times when unpacked, which no real document does.")
            if any(member.flag_bits & 1 for member in members):
                raise Unreadable("It is encrypted: attach a copy without a password.")
            if _BODY not in archive.namelist():
                raise Unreadable("It is a zip archive, but no Word document.")
            for member in members:
                if member.filename.endswith((".xml", ".rels")):
                    _check_markup(archive.read(member))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise Unreadable(f"It is damaged or cut short: {_told(error)}.") from None


def _check_markup(data: bytes) -> None:
    """Documents of Office define no entities; whoever defines some is up to something."""
    declared = data[:4096].replace(b"\0", b"")
    if b"<!DOCTYPE" in declared or b"<!ENTITY" in declared:
        raise Unreadable("It defines XML entities, which no Word document does.")


def _told(error: BaseException) -> str:
    return str(error)[:200].rstrip(".") or type(error).__name__
