"""Source code: functions and classes, told by their first line and by indentation in any usual language.

There is no parser per language: a definition is a line that looks like one, what belongs to it is indented deeper. That
is right nearly always in code that people format, and where it is wrong a passage is cut at a worse place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fairlead.documents.from_text import lines_of
from fairlead.documents.units import Break, Unit

_MODIFIERS = (
    r"(?:(?:export|default|pub(?:\([a-z]+\))?|public|private|protected|internal|static|final|abstract|async|open|sealed"
    r"|override|virtual|inline|constexpr|extern|unsafe|const|data|partial|declare|local|suspend|\w+!)\s+)*"
)
_DEFINING = (
    r"(?:class|def|fn|func|fun|function|sub|struct|enum|trait|impl|interface|type|module|namespace|object|union|protocol"
    r"|extension|record|macro_rules!|procedure|defmodule|defp|defn|message|service|component)\b"
)
_KEYWORD = re.compile(
    r"\s*(?:template\s*<.*>\s*)?"
    + _MODIFIERS
    + _DEFINING
    + r"[\s*]*(?:\([^)]*\)\s*)?(?:<[^>]*>\s*)?([A-Za-z_$][\w$.:?!]*)"
)
_PYTHON = re.compile(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)\s*[(\[:]")
_C_LIKE = re.compile(
    r"(?!\s*(?:return|if|else|for|while|switch|throw|new|case|do|await|yield|delete|goto|using|in|not|and|or)\b)"
    r"\s*(?:[\w:<>,~\[\]]+[\s*&]+)+([A-Za-z_~][\w:~]*)\s*\([^;={}]*\{?\s*$"
)
_SQL = re.compile(
    r"\s*create\s+(?:or\s+replace\s+)?(?:\w+\s+)*?(?:table|view|function|procedure|index|trigger|type)\s+"
    r"(?:if\s+not\s+exists\s+)?([\w.\"`]+)",
    re.IGNORECASE,
)
_SECTION = re.compile(r"\[+\s*([^\]\[]+?)\s*\]+\s*$")
_TARGET = re.compile(r"([\w./%$()-]+)\s*:(?!=)")
_BLOCK = re.compile(r"([\w.-]+(?:\s+\"[^\"]*\")*)\s*[:{]\s*$")
_ASSIGNED = re.compile(
    r"\s*(?:export\s+)?(?:const|let|var)\s+([\w$]+)\s*=\s*(?:async\s*)?(?:function\b|\([^)]*\)\s*=>|\w+\s*=>)"
)

_BELONGS = ("#", "//", "/*", "*", "@", "--", ";;", '"""', "'''", "%", "[[", "#[", "template", "<!--")
"""How lines begin that belong to the definition below them: comments and decorators."""
_ENDS = ("end", "fi", "done", "esac", "{")
_FLAT = ("configuration", "hcl", "yaml", "css", "makefile")
"""Kinds whose definitions begin at the margin alone."""
_DEEPEST = 6
_LONGEST_LINE = 400
"""Longer lines define nothing; expressions look at no more."""


def code_units(text: str, kind: str) -> Iterator[Unit]:
    """The lines of a source file, each with the definitions that it is within."""
    lines = lines_of(text)
    begins = [Break.SENTENCE] * len(lines)
    names: list[str] = []
    within: list[tuple[int, str]] = []
    for index, line in enumerate(lines):
        if line.strip():
            indent = _indent(line)
            defined = _defined(line, kind, indent)
            while within and (not _is_within(line, indent, within[-1][0]) or (defined and within[-1][0] < 0)):
                within.pop()
            if defined is not None and len(within) < _DEEPEST:
                within.append((-1 if kind == "configuration" else indent, defined))
                first = _first_of(lines, begins, index, indent)
                begins[first] = Break.SECTION if len(within) <= 2 else Break.PARAGRAPH
                names[first:index] = [_path(within)] * (index - first)
            elif index and not lines[index - 1].strip():
                begins[index] = Break.PARAGRAPH
        names.append(_path(within))
    for number, (line, kind_of_break, name) in enumerate(zip(lines, begins, names, strict=True), 1):
        yield Unit(text=line, begins=kind_of_break, heading=name, line=number)


def _path(within: list[tuple[int, str]]) -> str:
    return ".".join(name for _, name in within)


def _is_within(line: str, indent: int, of: int) -> bool:
    """Whether a line belongs to the definition that is indented by `of`; its closing bracket does."""
    stripped = line.strip()
    return indent > of or (indent == of and (stripped[0] in "})]" or stripped in _ENDS))


def _indent(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())


def _first_of(lines: list[str], begins: list[Break], index: int, indent: int) -> int:
    """Where a definition begins, with the comments and decorators right above it that are not another's."""
    while index and begins[index] is not Break.PARAGRAPH and begins[index - 1] is not Break.SECTION:
        above = lines[index - 1]
        if not above.strip().startswith(_BELONGS) or _indent(above) - indent not in (0, 1):
            break
        index -= 1
    return index


def _defined(line: str, kind: str, indent: int) -> str | None:
    """The name of what a line defines; None where it defines nothing."""
    if len(line) > _LONGEST_LINE:
        return None
    if kind in _FLAT:
        if indent:
            return None
        found = _SECTION.match(line) or (_TARGET.match(line) if kind == "makefile" else _BLOCK.match(line))
    elif kind == "sql":
        found = _SQL.match(line)
    elif kind == "python":
        found = _PYTHON.match(line)
    else:
        found = _KEYWORD.match(line) or _ASSIGNED.match(line) or _C_LIKE.match(line)
    return None if found is None else found[1]
