"""What a file is, by its name and its bytes."""

from __future__ import annotations

import pytest

from fairlead.documents import kinds
from fairlead.documents.kinds import HEAD_BYTES, TAIL_BYTES, Contradiction, Unsupported, check_content, named_kind
from tests.documents import made


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("report.PDF", "pdf"),
        ("Brief.docx", "docx"),
        ("notes.txt", "text"),
        ("README", "text"),
        ("README.md", "markdown"),
        ("page.htm", "html"),
        ("a.b.csv", "csv"),
        ("t.tsv", "tsv"),
        ("x.json", "json"),
        ("x.jsonl", "json lines"),
        ("Dockerfile", "dockerfile"),
        ("CMakeLists.txt", "cmake"),
        ("main.rs", "rust"),
        ("kernel.cu", "cuda"),
        (".env", "configuration"),
        ("größe.py", "python"),
    ],
)
def test_names(name: str, kind: str) -> None:
    assert named_kind(name) == kind


@pytest.mark.parametrize("name", ["a.exe", "a.doc", "a.zip", "noextension", "a.", "a.docm", "a.png", "a." + "x" * 300])
def test_names_of_nothing_that_is_read(name: str) -> None:
    with pytest.raises(Unsupported) as told:
        named_kind(name)
    assert str(told.value).endswith(".")
    assert len(str(told.value)) < 200


def check(kind: str, data: bytes) -> None:
    check_content(kind, data[:HEAD_BYTES], data[-TAIL_BYTES:])


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("pdf", made.pdf(["Hello"])),
        ("docx", made.word([("Normal", "Hello")])),
        ("text", b"MZ is how programs for Windows begin, and this text as well: it goes on for some words more."),
        ("text", "Wide".encode("utf-16")),
        ("text", "wide without a mark".encode("utf-16-be")),
        ("text", "wider".encode("utf-32")),
        ("python", b"#!/usr/bin/env python\n"),
        ("text", b"A PDF begins with %PDF-1.7, and ends with %%EOF."),
    ],
)
def test_what_is_what_it_says(kind: str, data: bytes) -> None:
    check(kind, data)


_PROGRAMS = {
    "Windows": b"MZ\x90\x00" + bytes(60) + b"PE\0\0",
    "Linux": b"\x7fELF\x02\x01\x01" + bytes(60),
    "macOS": b"\xcf\xfa\xed\xfe" + bytes(60),
    "WebAssembly": b"\0asm\x01\0\0\0",
}


@pytest.mark.parametrize("kind", ["text", "pdf", "docx", "python"])
@pytest.mark.parametrize("what", _PROGRAMS)
def test_programs_are_refused_by_what_they_are(kind: str, what: str) -> None:
    with pytest.raises(Contradiction, match=what):
        check(kind, _PROGRAMS[what])


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("text", b"", "empty"),
        ("pdf", b"", "empty"),
        ("pdf", b"Hello", "is none"),
        ("text", made.pdf(["Hello"]), "is a PDF"),
        ("pdf", made.word(), "is a zip archive"),
        ("pdf", made.pdf(["Hello"])[:-200], "cut short"),
        ("docx", made.word()[:-30], "cut short"),
        ("docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted or pre-2007"),
        ("pdf", made.pdf(["Hello"]) + made.word(), "at once"),
        ("text", b"a harmless text\n" + made.word(), "at once"),
        ("docx", b"PK\x03\x04%PDF-1.7" + made.word()[10:], "at once"),
        ("text", b"some text" + bytes(range(256)) * 4, "binary"),
        ("csv", b"\x89PNG\r\n\x1a\n" + bytes(50), "picture"),
    ],
)
def test_contradictions_and_files_that_are_two_things(kind: str, data: bytes, why: str) -> None:
    with pytest.raises(Contradiction, match=why):
        check(kind, data)


def test_every_extension_stands_for_one_kind() -> None:
    listed = [word for table in (kinds._CODE, kinds._DOCUMENTS) for words in table.values() for word in words.split()]
    assert len(listed) == len(set(listed))
