"""Plain text, logs, Markdown and reStructuredText: paragraphs, under headings where there are any."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fairlead.documents.units import Break, Unit

_HEADING = re.compile(r"(#{1,6})[ \t]+[^\s#]")
_UNDERLINE = re.compile(r"(=+|-+|~+|\^+|\*+|\++)\s*$")
_FENCE = re.compile(r"\s*(```+|~~~+)")
_UNDERLINED_LEVEL = {"=": 1, "-": 2, "~": 3, "^": 4, "*": 5, "+": 6}
_LONGEST_HEADING = 200


class Headings:
    """The headings above a place, outermost first."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        """A heading; it ends those of its own level and below."""
        self._levels = [(above, name) for above, name in self._levels if above < level]
        self._levels.append((level, " ".join(title.split())[:_LONGEST_HEADING]))

    def __str__(self) -> str:
        return " > ".join(title for _, title in self._levels if title)


def lines_of(text: str) -> list[str]:
    """Its lines, each with its end; line feeds alone end lines."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def plain_units(text: str) -> Iterator[Unit]:
    """Paragraphs of a text: what stands between blank lines."""
    yield from _paragraphs(lines_of(text), marked_up=False)


def marked_up_units(text: str) -> Iterator[Unit]:
    """Paragraphs of Markdown or reStructuredText, each with the headings above it."""
    yield from _paragraphs(lines_of(text), marked_up=True)


def _paragraphs(lines: list[str], *, marked_up: bool) -> Iterator[Unit]:
    headings = Headings()
    fence: str | None = None
    gathered: list[str] = []
    begins, begin = Break.PARAGRAPH, 1
    blank = False
    for number, line in enumerate(lines, 1):
        level = None
        if marked_up:
            opening = _FENCE.match(line)
            if fence is None and opening is None:
                level = _heading_level(lines, number - 1)
            elif opening is not None and (fence is None or opening[1].startswith(fence)):
                fence = opening[1] if fence is None else None
        if gathered and (level is not None or (blank and line.strip())):
            yield Unit(text="".join(gathered), begins=begins, heading=str(headings), line=begin)
            gathered = []
        if not gathered:
            begins, begin = Break.SECTION if level is not None else Break.PARAGRAPH, number
        if level is not None:
            headings.enter(level, _title(line))
        gathered.append(line)
        blank = not line.strip()
    if gathered:
        yield Unit(text="".join(gathered), begins=begins, heading=str(headings), line=begin)


def _heading_level(lines: list[str], index: int) -> int | None:
    """The level of the heading that a line is, as `# ...` or as a line with one of signs below it."""
    line = lines[index]
    if (heading := _HEADING.match(line)) is not None:
        return len(heading[1])
    if index + 1 < len(lines) and (below := _UNDERLINE.match(lines[index + 1])) is not None:
        title = line.strip()
        if title and not _UNDERLINE.match(line) and line[0] not in " \t-*+|>" and len(below[1]) >= min(len(title), 3):
            alone = index == 0 or lines[index - 1].strip() == "" or _UNDERLINE.match(lines[index - 1]) is not None
            return _UNDERLINED_LEVEL[below[1][0]] if alone else None
    return None


def _title(line: str) -> str:
    return line.strip("# \t\n") if _HEADING.match(line) else line.strip()
