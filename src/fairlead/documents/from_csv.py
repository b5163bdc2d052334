"""Tables as text: each record together, with the names of its columns as the heading."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from fairlead.documents.from_text import lines_of
from fairlead.documents.units import Break, Unit, Unreadable

_LONGEST_FIELD = 1 << 20
_LONGEST_HEADING = 400
_DELIMITERS = ",;\t|"


def table_units(text: str, delimiter: str | None = None) -> Iterator[Unit]:
    """The records of a table, each as it stands in the file. The first record is taken for the columns' names."""
    lines = lines_of(text)
    csv.field_size_limit(_LONGEST_FIELD)
    heading, begin = "", 0
    try:
        reader = csv.reader(iter(lines), delimiter=delimiter or delimiter_of(lines))
        for record in reader:
            unit = Unit(text="".join(lines[begin : reader.line_num]), heading=heading, line=begin + 1)
            if not heading and any(field.strip() for field in record):
                heading = " | ".join(" ".join(field.split()) for field in record)[:_LONGEST_HEADING]
            begin = reader.line_num
            yield unit
    except csv.Error as error:
        raise Unreadable(f"It is no table: {error}, in the record at line {begin + 1}.") from None


def line_units(text: str) -> Iterator[Unit]:
    """Records of a line each."""
    for number, line in enumerate(lines_of(text), 1):
        yield Unit(text=line, begins=Break.PARAGRAPH, line=number)


def delimiter_of(lines: list[str]) -> str:
    """The one that most evenly divides the first lines; a comma where none does."""
    sample = [line for line in lines[:50] if line.strip()]
    best, best_count = ",", 0
    for delimiter in _DELIMITERS:
        counts = [len(record) for record in csv.reader(sample, delimiter=delimiter)]
        usual = max(set(counts), key=counts.count, default=1)
        if usual > 1 and counts.count(usual) * usual > best_count:
            best, best_count = delimiter, counts.count(usual) * usual
    return best
