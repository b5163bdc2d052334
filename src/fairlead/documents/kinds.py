"""What a file is, by its name and by its bytes: both must agree, whoever wrote either.

Pure: it is given a file's beginning and end, and opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

HEAD_BYTES: Final = 8 << 10
TAIL_BYTES: Final = (64 << 10) + 22
"""In which a zip archive's directory ends."""

_CODE: Final = {
    "assembly": "asm s",
    "c": "c h",
    "c++": "cc cpp cxx hh hpp hxx ipp",
    "c#": "cs",
    "clojure": "clj cljs",
    "cmake": "cmake",
    "configuration": "cfg conf env ini properties toml",
    "css": "css less scss sass",
    "cuda": "cu cuh",
    "dart": "dart",
    "diff": "diff patch",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "f#": "fs fsx",
    "fortran": "f f90 f95",
    "go": "go mod",
    "graphql": "graphql gql",
    "groovy": "gradle groovy",
    "haskell": "hs",
    "hcl": "hcl tf",
    "java": "java",
    "javascript": "cjs js jsx mjs",
    "json with comments": "json5 jsonc",
    "julia": "jl",
    "kotlin": "kt kts",
    "lisp": "el lisp scm",
    "lua": "lua",
    "makefile": "mk",
    "matlab": "m",
    "nim": "nim",
    "nix": "nix",
    "objective-c++": "mm",
    "ocaml": "ml mli",
    "pascal": "pas",
    "perl": "pl pm",
    "php": "php",
    "powershell": "ps1 psm1",
    "protobuf": "proto",
    "python": "py pyi pyw",
    "r": "r",
    "ruby": "rb",
    "rust": "rs",
    "scala": "sbt scala",
    "shell": "bash sh zsh fish",
    "solidity": "sol",
    "sql": "sql",
    "svelte": "svelte",
    "swift": "swift",
    "typescript": "cts mts ts tsx",
    "vb": "vb",
    "verilog": "sv v",
    "vhdl": "vhd vhdl",
    "vue": "vue",
    "xml": "xml xsd xsl svg",
    "yaml": "yaml yml",
    "zig": "zig",
}
"""Each language's extensions."""

_DOCUMENTS: Final = {
    "pdf": "pdf",
    "docx": "docx",
    "text": "txt text log tex",
    "markdown": "md markdown mdown rst",
    "html": "htm html xhtml",
    "csv": "csv",
    "tsv": "tab tsv",
    "json": "json geojson ipynb",
    "json lines": "jsonl ndjson",
}

BY_EXTENSION: Final[Mapping[str, str]] = {
    extension: kind for kind, extensions in (_DOCUMENTS | _CODE).items() for extension in extensions.split()
}

BY_NAME: Final[Mapping[str, str]] = {
    "authors": "text",
    "changelog": "text",
    "cmakelists.txt": "cmake",
    "containerfile": "dockerfile",
    "copying": "text",
    "dockerfile": "dockerfile",
    "gemfile": "ruby",
    "gnumakefile": "makefile",
    "justfile": "makefile",
    "license": "text",
    "makefile": "makefile",
    "notice": "text",
    "rakefile": "ruby",
    "readme": "text",
}

CODE_KINDS: Final = frozenset(_CODE) | {"dockerfile"}

_SIGNATURES: Final = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"MZ", "a program for Windows"),
    (b"\x7fELF", "a program for Linux"),
    (b"\xfe\xed\xfa\xce", "a program for macOS"),
    (b"\xfe\xed\xfa\xcf", "a program for macOS"),
    (b"\xce\xfa\xed\xfe", "a program for macOS"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\xca\xfe\xba\xbe", "a compiled program"),
    (b"\x00asm", "a WebAssembly program"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an encrypted or pre-2007 Office document"),
    (b"\x89PNG", "a picture"),
    (b"GIF8", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"SQLite format 3\x00", "a database"),
    (b"{\\rtf", "a rich text document"),
)
_WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
"""Byte order marks of encodings in which NUL bytes are usual."""

_DOS_PROGRAM: Final = re.compile(rb"MZ.{58}", re.DOTALL)
"""A header of 64 bytes; a text may well begin with these two letters."""


class Unsupported(Exception):
    """A kind of file that is not taken; the message is a sentence."""


class Contradiction(Exception):
    """A file whose bytes are not what its name says, or are two things at once; the message is a sentence."""


def named_kind(name: str) -> str:
    """The kind that a file's name stands for. Unsupported where it stands for none."""
    lower = name.lower()
    if (kind := BY_NAME.get(lower)) is not None:
        return kind
    stem, dot, extension = lower.rpartition(".")
    if not dot or not (stem or extension in BY_EXTENSION):
        raise Unsupported("its name has no extension that says what it is, such as .pdf, .docx, .txt, .csv or .py.")
    if (kind := BY_EXTENSION.get(extension)) is None:
        raise Unsupported(
            f"files that end in .{extension[:20]} are not read; pdf, docx, txt, md, html, csv, json and code are."
        )
    return kind


def check_content(kind: str, head: bytes, tail: bytes) -> None:
    """See that a file can be of this kind, by its first `HEAD_BYTES` and its last `TAIL_BYTES` (or all it has).

    Raises:
        Contradiction: it is something else, or something else as well.
    """
    if not head:
        raise Contradiction("it is empty.")
    found = _signature(head)
    ends_as_zip = _ends_as_zip(tail)
    if kind == "pdf":
        if found != "a PDF":
            raise Contradiction(f"it is named a PDF, but is {found or 'none'}.")
        if ends_as_zip:
            raise Contradiction("it is a PDF and a zip archive at once.")
        if b"%%EOF" not in tail:
            raise Contradiction("it is a PDF that was cut short.")
    elif kind == "docx":
        if found != "a zip archive" or not ends_as_zip:
            raise Contradiction(f"it is named a Word document, but is {_not_a_document(found)}.")
        if b"%PDF-" in head[:1024]:
            raise Contradiction("it is a Word document and a PDF at once.")
    elif found is not None:
        raise Contradiction(f"it is named as text, but is {found}.")
    elif ends_as_zip:
        raise Contradiction("it is text and a zip archive at once.")
    elif b"\0" in head and not head.startswith(_WIDE_MARKS) and not is_wide(head):
        raise Contradiction("it is named as text, but holds binary data.")


def _not_a_document(found: str | None) -> str:
    return "cut short" if found == "a zip archive" else found or "none"


def _signature(head: bytes) -> str | None:
    for signature, what in _SIGNATURES:
        if head.startswith(signature) and (signature != b"MZ" or _is_dos_program(head)):
            return what
    return None


def _is_dos_program(head: bytes) -> bool:
    return _DOS_PROGRAM.match(head) is not None and b"\0" in head[:64]


def _ends_as_zip(tail: bytes) -> bool:
    """Whether an archive's directory ends where the file ends, as it must (APPNOTE 4.3.16)."""
    begin = tail.rfind(b"PK\x05\x06")
    while begin >= 0:
        comment = int.from_bytes(tail[begin + 20 : begin + 22], "little")
        if begin + 22 + comment == len(tail) and len(tail) >= begin + 22:
            return True
        begin = tail.rfind(b"PK\x05\x06", 0, begin)
    return False


def is_wide(head: bytes) -> bool:
    """Whether NUL bytes stand as they do in UTF-16 without its mark: at nearly every other place."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    return max(even, odd) > 0.3 * len(head) / 2 and min(even, odd) < 0.02 * len(head)
