"""Texts cut into passages: nothing is lost, none is too long, and cuts fall where something begins."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.documents.cutting import LEAST, MOST, cut
from fairlead.documents.from_code import code_units
from fairlead.documents.from_csv import line_units, table_units
from fairlead.documents.from_json import json_units, set_out
from fairlead.documents.from_text import marked_up_units, plain_units
from fairlead.documents.text import cleaned
from fairlead.documents.units import Break, Unit, Unreadable, pieces, size
from tests.documents.made import PARAGRAPH

SIGNS = st.sampled_from(
    [*"abcXYZ 09.,;:!?#*-_=(){}[]\"'`|/\\<>@", "\n", "\n\n", "\t", "ä", "漢字", "。", "def f(", "    "]
)
TEXTS = st.lists(SIGNS, max_size=400).map("".join)


def lines_are_told(text: str, passages: list[tuple[int | None, int | None, str]]) -> None:
    """Each passage's lines hold its text."""
    lines = text.split("\n")
    for line_from, line_to, part in passages:
        assert line_from is not None
        assert line_to is not None
        held = "\n".join(lines[line_from - 1 : line_to])
        assert part.removesuffix("\n") in held


@pytest.mark.parametrize("kind", ["plain", "marked up", "python", "c", "yaml", "makefile", "sql", "csv", "lines"])
@given(text=TEXTS)
@example(text="a0a0.a0a0a0a0a0a0a0a0a0漢字a0a0a")
def test_put_together_the_passages_are_the_text(kind: str, text: str) -> None:
    readers = {
        "plain": plain_units,
        "marked up": marked_up_units,
        "csv": table_units,
        "lines": line_units,
    }
    try:
        units = list(readers[kind](text) if kind in readers else code_units(text, kind))
    except Unreadable:
        assert kind == "csv"
        return
    passages = list(cut(units, most=30, least=8))
    assert "".join(passage.text for passage in passages) == text
    assert all(size(passage.text) <= 30 for passage in passages)
    lines_are_told(text, [(passage.line_from, passage.line_to, passage.text) for passage in passages])


@given(text=TEXTS.map(cleaned), most=st.integers(2, 60))
def test_pieces_are_the_unit(text: str, most: int) -> None:
    parts = list(pieces(Unit(text=text, line=1), most))
    assert "".join(part.text for part in parts) == text
    line = 1
    for part in parts:
        assert part.line == line
        line += part.text.count("\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=30,
)


@given(value=JSON, indent=st.sampled_from([None, 1, 4]))
def test_json_keeps_its_meaning(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert json.loads("".join(set_out(text))) == value
    units = list(json_units(text, 100))
    assert json.loads("".join(unit.text for unit in units)) == value


def test_cuts_fall_at_headings_and_paragraphs() -> None:
    text = "\n\n".join(f"# Part {part}\n\n" + "\n\n".join([PARAGRAPH * 3] * 4) for part in range(5)) + "\n"
    passages = list(cut(marked_up_units(text)))
    assert [passage.heading for passage in passages if passage.text.startswith("# ")] == [f"Part {n}" for n in range(5)]
    assert all(passage.text.startswith(("# Part", "Ropes")) for passage in passages)
    for before, after in pairwise(passages):
        assert size(before.text) + size(after.text) > LEAST
        assert size(before.text) <= MOST


def test_long_sentences_are_cut_between_words() -> None:
    passages = list(cut([Unit(text="word " * 2000, begins=Break.PARAGRAPH)]))
    assert len(passages) > 5
    assert all(passage.text.endswith("word ") for passage in passages)


def test_pages_are_never_joined_and_blank_ones_are_no_passage() -> None:
    units = [Unit(text="One.\n", page=1), Unit(text="\n \n", page=2), Unit(text="Three.\n", page=3)]
    assert [(passage.page, passage.text) for passage in cut(units)] == [(1, "One.\n\n \n"), (3, "Three.\n")]


PYTHON = '''"""Module."""

import os

# About the class.
@decorated
class Ship:
    """A ship."""

    def sail(self) -> None:
        """Sail."""
        return None

    async def anchor(
        self,
    ) -> None:
        pass


def harbour(name: str) -> str:
    return name
'''

C_PLUS_PLUS = """#include <x>

// Adds.
int add(int a, int b) {
  return a + b;
}

template <typename T>
class Rope : public Line {
 public:
  void pull(double force) const {
    if (force > 0) {
      pay(force);
    }
  }
};
"""


def headings(text: str, kind: str) -> dict[str, str]:
    return {unit.text.strip(): unit.heading for unit in code_units(text, kind)}


def test_python_is_cut_by_its_definitions() -> None:
    told = headings(PYTHON, "python")
    assert told["import os"] == ""
    assert told["# About the class."] == told["@decorated"] == "Ship"
    assert told["return None"] == "Ship.sail"
    assert told["pass"] == "Ship.anchor"
    assert told["return name"] == "harbour"
    begins = {unit.text.strip(): unit.begins for unit in code_units(PYTHON, "python")}
    assert begins["# About the class."] is begins["def sail(self) -> None:"] is Break.SECTION
    assert begins["@decorated"] is Break.SENTENCE


def test_c_plus_plus_is_cut_by_its_definitions() -> None:
    told = headings(C_PLUS_PLUS, "c++")
    assert told["// Adds."] == told["return a + b;"] == "add"
    assert told["template <typename T>"] == told["public:"] == "Rope"
    assert told["pay(force);"] == told["if (force > 0) {"] == "Rope.pull"


@pytest.mark.parametrize(
    ("kind", "line", "name"),
    [
        ("go", "func (s *Server) Serve(l net.Listener) error {", "Serve"),
        ("rust", "pub(crate) async fn read<T: Read>(from: T) -> Result<()> {", "read"),
        ("javascript", "export default async function load(name) {", "load"),
        ("typescript", "export const load = async (name: string) => {", "load"),
        ("java", "    public static final class Node<T> {", "Node"),
        ("ruby", "  def empty?", "empty?"),
        ("sql", "CREATE TABLE IF NOT EXISTS people (", "people"),
        ("configuration", "[tool.ruff.lint]", "tool.ruff.lint"),
        ("makefile", "build/%.o: %.c", "build/%.o"),
        ("yaml", "services:", "services"),
        ("protobuf", "message Person {", "Person"),
    ],
)
def test_definitions_in_other_languages(kind: str, line: str, name: str) -> None:
    assert headings(f"{line}\n", kind)[line.strip()] == name


def test_records_stay_whole_and_know_their_columns() -> None:
    text = 'name;note\nAnna;"two\nlines"\nBo;one\n'
    units = list(table_units(text))
    assert [unit.text for unit in units] == ["name;note\n", 'Anna;"two\nlines"\n', "Bo;one\n"]
    assert [unit.heading for unit in units] == ["", "name | note", "name | note"]
    assert [unit.line for unit in units] == [1, 2, 4]


def test_json_members_know_their_place() -> None:
    text = json.dumps({"ships": [{"name": "Fair"}, {"name": "Lead"}]}, indent=2)
    told = {unit.text.strip(): unit.heading for unit in json_units(text, 10)}
    assert told['"name": "Lead"'] == "ships[1].name" or told['"name": "Lead"'] == "ships[1]"
    with pytest.raises(Unreadable, match="deeper than 10"):
        list(json_units("[" * 11 + "]" * 11, 10))


def test_headings_of_markdown() -> None:
    text = (
        "Title\n=====\n\nText.\n\n## Two ##\n```\n# no heading\n```\n### Three\nMore.\n\nNext\n----\n\n- item\n- item\n"
    )
    told = {unit.text.split("\n")[0]: unit.heading for unit in marked_up_units(text)}
    assert told == {
        "Title": "Title",
        "Text.": "Title",
        "## Two ##": "Title > Two",
        "### Three": "Title > Two > Three",
        "Next": "Title > Next",
        "- item": "Title > Next",
    }
