"""Bytes to text: any encoding, one kind of line end, nothing that is no text."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from fairlead.documents.kinds import HEAD_BYTES, is_wide
from fairlead.documents.units import Unreadable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; that of UTF-32 begins with that of UTF-16."""

_SAMPLE_BYTES = 64 << 10
"""By which an encoding is guessed."""
_USUAL = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949", "koi8_r", "cp874",
]  # fmt: skip
"""Encodings that people's files are in, of equally good ones the first; others are hardly used and look alike."""
_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u2029]")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_MOST_NO_TEXT = 0.01


def decoded(data: bytes) -> str:
    """The text that these bytes are, with line feeds alone. Unreadable where they are none."""
    return decoded_by(data)[0]


def decoded_by(data: bytes, encoding: str | None = None) -> tuple[str, str]:
    """The same in an encoding, None to find it out; and by which it was read."""
    text, name = _decoded(data) if encoding is None else (_by(encoding, data), encoding)
    text = _LINE_ENDS.sub("\n", text)
    clean = _NO_TEXT.sub("", text)
    if len(text) - len(clean) > max(8, _MOST_NO_TEXT * len(text)):
        raise Unreadable("It holds binary data, not text.")
    return clean, name


def cleaned(text: str) -> str:
    """A text out of a document, with line feeds alone and without control characters."""
    return _NO_TEXT.sub("", _LINE_ENDS.sub("\n", text))


def _decoded(data: bytes) -> tuple[str, str]:
    """The text, and the encoding that it is in."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _by(encoding, data), encoding
    if b"\0" not in data:
        try:
            return data.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            name = _guessed(data)
            return data.decode(name, errors="replace"), name
    if not is_wide(data[:HEAD_BYTES]):
        raise Unreadable("It holds binary data, not text.")
    name = "utf-16-be" if data[::2].count(0) > data[1::2].count(0) else "utf-16-le"
    return _by(name, data), name


def _by(encoding: str, data: bytes) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise Unreadable(f"It is no whole {name}: byte {error.start} fits nothing.") from None
    except LookupError:
        raise Unreadable(f"There is no encoding {encoding} that texts are in.") from None


def _guessed(data: bytes) -> str:
    """An encoding of one language; the sample begins where the first byte is that is no ASCII."""
    first = next(index for index, byte in enumerate(data) if byte >= 0x80)
    begin = data.rfind(b"\n", 0, first) + 1
    sample = data[max(begin, first - _SAMPLE_BYTES // 2) :][:_SAMPLE_BYTES]
    for encodings in (_USUAL, None):
        matches = from_bytes(sample, cp_isolation=encodings, preemptive_behaviour=False)
        if (best := matches.best()) is not None:
            break
    else:
        raise Unreadable("It is text in no encoding that is known; save it as UTF-8.")
    equals = [match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    names = {name for match in equals for name in (match.encoding, *match.could_be_from_charset)}
    return next((name for name in _USUAL if name in names), best.encoding)
