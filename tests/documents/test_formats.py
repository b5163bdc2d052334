"""What the readers make of real files."""

from __future__ import annotations

import pytest

from fairlead.documents.messages import Limits, Passage, Read
from fairlead.documents.reading import Reading
from fairlead.documents.text import decoded
from fairlead.documents.units import Unreadable
from tests.documents import made
from tests.documents.made import PARAGRAPH


def read(kind: str, data: bytes, **limits: int) -> tuple[list[Passage], Read, list[tuple[int, int]]]:
    pages: list[tuple[int, int]] = []
    reading = Reading(kind, data, Limits(**limits), lambda done, total: pages.append((done, total)))
    passages = list(reading.passages())
    return passages, reading.end(), pages


def text_of(kind: str, data: bytes, **limits: int) -> str:
    return "".join(passage.text for passage in read(kind, data, **limits)[0])


def reason(kind: str, data: bytes, **limits: int) -> str:
    with pytest.raises(Unreadable) as told:
        read(kind, data, **limits)
    return str(told.value)


# ---- pdf ------------------------------------------------------------------------------------------


def test_pdf_pages_and_bookmarks() -> None:
    data = made.pdf(["The first page. " * 100, "Second.", "Third."], {0: "Beginning", 2: "End"})
    passages, end, pages = read("pdf", data)
    assert {passage.page for passage in passages} == {1, 2, 3}
    assert [(p.text.strip(), p.heading) for p in passages if p.page != 1] == [
        ("Second.", "Beginning"),
        ("Third.", "End"),
    ]
    assert end.pages == 3
    assert end.note is None
    assert end.characters == sum(len(passage.text) for passage in passages)
    assert pages == [(1, 3), (2, 3), (3, 3)]


def test_pdf_pages_that_are_pictures_are_told_of() -> None:
    data = made.pdf(["Text.", "", None, None, None, "More.", None])
    assert read("pdf", data)[1].note == "Pages 3-5 and 7 are images without text."
    assert reason("pdf", made.pdf([None, None])) == "It holds no text: pages 1-2 are images without text."
    assert reason("pdf", made.pdf([""])) == "It holds no text."


def test_pdf_words_broken_over_lines_are_joined() -> None:
    text = text_of("pdf", made.pdf(["A fair­lead guides. " * 30]))
    assert "\x02" not in text
    assert "\ufffe" not in text


def test_pdf_with_a_password() -> None:
    assert "encrypted" in reason("pdf", made.pdf(["Secret."], password="x"))


def test_pdf_with_too_many_pages() -> None:
    assert "3 pages" in reason("pdf", made.pdf(["a", "b", "c"]), pages=2)


# ---- docx -----------------------------------------------------------------------------------------


def test_word_documents_in_order() -> None:
    data = made.word(
        [("Title", "Report"), ("Heading 1", "Part"), ("Normal", "Grüße, 世界."), ("List Bullet", "item")],
        [["a", "b"], ["c", "d"]],
    )
    (passage,), end, _ = read("docx", data)
    assert passage.text == "Report\n\nPart\n\nGrüße, 世界.\n\n- item\na | b\nc | d\n"
    assert passage.heading == "Report"
    assert end.pages is None


def test_word_headings_lead_to_their_passages() -> None:
    parts = [("Heading 1", "One"), ("Normal", PARAGRAPH * 8), ("Heading 2", "Two"), ("Normal", PARAGRAPH * 8)]
    passages = read("docx", made.word(parts))[0]
    assert {passage.heading for passage in passages} == {"One", "One > Two"}


def test_word_bombs() -> None:
    spaces = {"word/media/x": bytes(9 << 20)}
    assert "grows" in reason("docx", made.raw_word("", more=spaces))
    assert "unpacks to" in reason("docx", made.raw_word("", more=spaces), unpacked_bytes=1 << 20)
    parts = {f"word/{part}": b"" for part in range(50)}
    assert "53 parts" in reason("docx", made.raw_word("", more=parts), members=52)
    assert "entities" in reason("docx", made.raw_word("<w:p><w:r><w:t>&c;</w:t></w:r></w:p>", made.LAUGHS))
    wide = made.LAUGHS.encode("utf-16")
    assert "entities" in reason("docx", made.raw_word("", more={"word/styles.xml": wide}))
    assert "epth" in reason("docx", made.raw_word("<w:p>" * 9000 + "</w:p>" * 9000))


def test_word_documents_that_are_damaged() -> None:
    data = made.word([("Normal", PARAGRAPH * 50)])
    for cut in (100, len(data) // 2, len(data) - 20):
        assert "damaged or cut short" in reason("docx", data[:cut])
    middle = len(data) // 3
    assert reason("docx", data[:middle] + bytes(200) + data[middle + 200 :])
    assert reason("docx", made.raw_word("")) == "It holds no text."


# ---- html -----------------------------------------------------------------------------------------


def test_html_says_what_people_read() -> None:
    page = """<html><head><title>A &amp; B</title><style>p {}</style><script>alert(1)</script></head><body>
        <h1>One</h1><p>Caf&eacute; <b>bold</b>,<br>next</p><!-- comment --><ul><li>a<li>b</ul>
        <table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td>2</td></tr></table><pre>k\n  l</pre>
        <noscript>no</noscript><svg><text>no</text></svg></body></html>"""
    text = text_of("html", page.encode())
    assert text == "A & B\n\nOne\n\nCafé bold,\nnext\n\n- a\n- b\nx | y\n1 | 2\nk\n  l\n\n"


def test_html_opens_nothing_and_stands_any_depth() -> None:
    hostile = b'<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]><p>a &x; b</p>'
    assert "root:" not in text_of("html", hostile)
    assert "nested deeper" in reason("html", b"<p>Hi</p>" + b"<div>" * 100_000)


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-8", "shift_jis", "nonsense"])
def test_html_in_the_encoding_that_it_names(charset: str) -> None:
    word = "これは日本語の文章です" if charset == "shift_jis" else "Überführung der Bäume"
    page = f'<meta charset="{charset}"><p>{word}</p>'.encode("utf-8" if charset == "nonsense" else charset)
    assert word in text_of("html", page)


# ---- text -----------------------------------------------------------------------------------------

LANGUAGES = {
    "cp1252": "Le garçon a été très déçu par l’hôtel où il dormait à Noël, près de l’église.",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "cp1251": "Это русский текст, записанный в старой кодировке Windows. Москва — столица России.",
    "koi8_r": "Привет, это текст по-русски в старой кодировке.",
    "shift_jis": "これは日本語の文章です。東京は日本の首都である。",
    "euc_jp": "これは日本語の文章です。東京は日本の首都である。",
    "gb18030": "这是一个中文句子，用于测试编码。北京是中国的首都。",
    "big5": "這是一個繁體中文句子，測試編碼用。",
    "cp949": "안녕하세요 한국어 문장입니다. 서울은 한국의 수도입니다.",
    "cp1253": "Ελληνικά κείμενα είναι εδώ",
}


@pytest.mark.parametrize("encoding", [*LANGUAGES, "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings(encoding: str) -> None:
    text = LANGUAGES.get(encoding, "Wide and wörldly: 漢字 in some text, mostly Latin.")
    assert decoded(text.encode(encoding)) == text


def test_line_ends_and_control_characters() -> None:
    assert decoded(b"a\r\nb\rc\x0cd\x1be\n") == "a\nb\ncde\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"text" * 100 + bytes(range(256)) * 50, "binary"),
        ("Hello".encode("utf-16")[:-1], "no whole UTF-16"),
        (b"\xef\xbb\xbf\xff\xff", "no whole UTF-8"),
        (b"\xff\xfe\x00\xd8", "no whole UTF-16"),
    ],
)
def test_what_is_no_text(data: bytes, why: str) -> None:
    assert why in reason("text", data)


def test_texts_that_are_too_long_or_empty() -> None:
    assert reason("text", b"word " * 300, characters=1000).startswith("It holds more than 1,000 characters")
    assert reason("text", b" \n\t" * 100) == "It holds no text."
    assert reason("json", b" \n") == "It holds no text."


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("json", b'{"a": 1,', "no valid JSON"),
        ("json", b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        ("csv", b'a,"' + b"x" * 2_000_000, "no table"),
    ],
)
def test_what_is_not_what_it_says(kind: str, data: bytes, why: str) -> None:
    assert why in reason(kind, data)


def test_numbers_of_any_length_stay_as_they_are() -> None:
    digits = "9" * 10_000
    assert digits in text_of("json", f'{{"a": {digits}}}'.encode()).replace("\n", "")
