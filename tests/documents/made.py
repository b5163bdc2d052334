"""Files for the readers, made here: honest ones by the libraries that people use, hostile ones by hand."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import docx
from fpdf import FPDF
from PIL import Image

PARAGRAPH = "Ropes run through the fairlead, and none of them chafes or jams another. "


def pdf(pages: Sequence[str | None], sections: Mapping[int, str] | None = None, password: str | None = None) -> bytes:
    """A PDF with a text on each page, or a picture where it is None; and bookmarks by the page's index."""
    made = FPDF()
    made.set_font("Helvetica", size=11)
    if password is not None:
        made.set_encryption(owner_password=password, user_password=password)
    for index, text in enumerate(pages):
        made.add_page()
        if sections and index in sections:
            made.start_section(sections[index])
        if text is None:
            made.image(Image.new("RGB", (20, 20), "grey"), x=10, y=10, w=50)
        elif text:
            made.multi_cell(0, 5, text)
    return bytes(made.output())


def raw_pdf(objects: Sequence[bytes]) -> bytes:
    """A PDF of these objects, the first of which is its root."""
    out, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    begin = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, begin)
    return bytes(out)


def pdf_of_stream(stream: bytes, filters: bytes) -> bytes:
    """A PDF of one page with this content."""
    resources = b"/Resources<</Font<</F 5 0 R>>>>"
    return raw_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R%b>>" % resources,
            b"<</Filter%b/Length %d>>stream\n%b\nendstream" % (filters, len(stream), stream),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        ]
    )


def pdf_bomb() -> bytes:
    """A gigabyte in a kilobyte, by deflating twice."""
    squeeze = zlib.compressobj(1)
    once = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(1024)) + squeeze.flush()
    return pdf_of_stream(zlib.compress(once, 9), b"[/FlateDecode/FlateDecode]")


def pdf_within_itself() -> bytes:
    """A form that draws itself, twice."""
    form = b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>/Length 11>>"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>"
    return raw_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            page,
            b"<</Length 5>>stream\n/X Do\nendstream",
            form + b"stream\n/X Do /X Do\nendstream",
        ]
    )


def circular_pdf() -> bytes:
    """A tree of pages that is its own branch."""
    return raw_pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000>>"])


def word(paragraphs: Sequence[tuple[str, str]] = (), table: Sequence[Sequence[str]] = ()) -> bytes:
    """A Word document of paragraphs, each with its style, and a table."""
    document = docx.Document()
    for style, text in paragraphs:
        document.add_paragraph(text, style=style)
    if table:
        grid = document.add_table(len(table), len(table[0]))
        for row, texts in enumerate(table):
            for column, text in enumerate(texts):
                grid.cell(row, column).text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
_NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def raw_word(body: str, head: str = "", more: Mapping[str, bytes] | None = None) -> bytes:
    """A Word document of this XML, and with other parts besides."""
    document = f'<?xml version="1.0"?>{head}<w:document {_NAMESPACE}><w:body>{body}</w:body></w:document>'
    parts = {"[Content_Types].xml": _TYPES.encode(), "_rels/.rels": _RELATIONS.encode()}
    parts |= {"word/document.xml": document.encode(), **(more or {})}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha ha ha "><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
