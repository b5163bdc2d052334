"""The files of chats from their arrival to a prompt, with the real reading process and a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from fairlead.errors import Conflict, FileTooLarge, NotFound, UnreadableFile, UnsupportedFile
from fairlead.service.documents import ChatDocuments, FileLimits
from fairlead.service.uploads import display_name
from tests.documents import made
from tests.documents.made import PARAGRAPH
from tests.polling import until
from tests.service.attached import HashingEmbedder, attach, documents_in

SLOW = b"- \n" * 1_200_000
READER = "fairlead.documents.process"
"""A text that takes seconds to be parsed."""
FISH = "Herring, cod and plaice are what the harbour lives from."
GUIDE = "".join(f"# Part {part}\n\n{PARAGRAPH * 6}\n\n" for part in range(30)) + f"# Fish\n\n{FISH}\n"


def count(text: str) -> int:
    return len(text) // 4


def stored(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "files").rglob("*") if path.is_file())


@pytest.fixture
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.fixture
async def documents(tmp_path: Path, embedder: HashingEmbedder) -> AsyncIterator[ChatDocuments]:
    async with documents_in(tmp_path, embedder) as made_ready:
        yield made_ready


@pytest.fixture
async def chat(documents: ChatDocuments) -> int:
    return await documents.chat_row(1, 1)


async def test_small_files_are_given_whole(documents: ChatDocuments, chat: int) -> None:
    files = {"a.txt": b"Alpha is first.", "größe.md": "# Größe\n\nÜber alles.".encode()}
    first, second = await attach(documents, chat, files)
    assert (first.file.state, first.file.kind, first.file.number, first.stage) == ("ready", "text", 1, None)
    assert second.file.characters == 20
    material = await documents.material(chat, "Anything?", 200, count)
    assert material.whole is not None
    assert "[a.txt]\nAlpha is first." in material.whole
    assert "[größe.md]\n# Größe\n\nÜber alles." in material.whole
    assert material.selected is None
    assert [(source.file_id, source.name, source.text) for source in material.sources] == [
        (1, "a.txt", ""),
        (2, "größe.md", ""),
    ]
    assert (await documents.material(chat, "Something else?", 200, count)).whole == material.whole


async def test_of_large_files_what_matters_is_given(documents: ChatDocuments, chat: int) -> None:
    await attach(documents, chat, {"guide.md": GUIDE.encode(), "other.txt": (PARAGRAPH * 9).encode()})
    material = await documents.material(chat, "Which fish does the harbour live from?", 300, count)
    assert material.whole is None
    assert material.selected is not None
    assert count(material.selected) <= 300
    best = material.sources[0]
    assert (best.file_id, best.name) == (1, "guide.md")
    assert FISH in best.text
    lines = GUIDE.split("\n")
    assert best.line_from is not None
    assert FISH in lines[best.line_from - 1 : best.line_to]
    assert f"[guide.md · lines {best.line_from}-{best.line_to} · " in material.selected
    assert not material.notes


async def test_pages_are_told(documents: ChatDocuments, chat: int) -> None:
    pages = [PARAGRAPH * 10 for _ in range(12)]
    pages[7] = FISH
    await attach(documents, chat, {"book.pdf": made.pdf([*pages, None])})
    material = await documents.material(chat, "Herring, cod or plaice?", 200, count)
    assert material.sources[0].page == 8
    assert material.selected is not None
    assert "[book.pdf · page 8]" in material.selected
    assert material.notes == ("book.pdf: Page 13 is an image without text.",)


async def test_words_alone_where_the_model_is_not_to_be_had(
    documents: ChatDocuments, chat: int, embedder: HashingEmbedder
) -> None:
    embedder.absent = True
    (status,) = await attach(documents, chat, {"guide.md": GUIDE.encode()})
    assert status.file.state == "ready"
    material = await documents.material(chat, "plaice", 300, count)
    assert FISH in material.sources[0].text
    assert "by their words alone" in material.notes[0]
    await documents.settled(chat)
    embedder.absent = False
    await documents.material(chat, "plaice", 300, count)
    await documents.settled(chat)
    assert not (await documents.material(chat, "plaice", 300, count)).notes


async def test_a_question_without_a_word_in_common_gets_the_beginning(tmp_path: Path) -> None:
    async with documents_in(tmp_path) as documents:
        chat = await documents.chat_row(1, 1)
        await attach(documents, chat, {"guide.md": GUIDE.encode()})
        material = await documents.material(chat, "Worum geht es?", 300, count)
        assert material.sources[0].text.startswith("# Part 0")
        assert not material.notes, "a server without embeddings has nothing to apologise for"


async def test_no_room_is_said(documents: ChatDocuments, chat: int) -> None:
    await attach(documents, chat, {"guide.md": GUIDE.encode()})
    material = await documents.material(chat, "fish", 10, count)
    assert (material.whole, material.selected) == (None, None)
    assert "no room" in material.notes[0]


async def test_files_that_cannot_be_read_say_why(documents: ChatDocuments, chat: int) -> None:
    files = {"secret.pdf": made.pdf(["x"], password="p"), "scan.pdf": made.pdf([None]), "a.json": b"{"}
    attached = await attach(documents, chat, files)
    assert [status.file.state for status in attached] == ["failed"] * 3
    assert [status.file.error for status in attached] == [
        "It is encrypted: attach a copy without a password.",
        "It holds no text: page 1 is an image without text.",
        "It is no valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
    ]
    material = await documents.material(chat, "What?", 500, count)
    assert material.whole is None
    assert len(material.notes) == 3
    assert material.notes[1] == "scan.pdf could not be read. It holds no text: page 1 is an image without text."


def readers() -> list[psutil.Process]:
    """The processes that read files; other tests' servers may have workers of their own."""
    return [child for child in psutil.Process().children() if READER in child.cmdline()]


async def test_a_file_that_is_parsed_is_told_of_and_can_be_removed(
    documents: ChatDocuments, chat: int, tmp_path: Path
) -> None:
    (status,) = await attach(documents, chat, {"slow.txt": SLOW}, settle=False)
    assert status.file.state == "parsing"
    assert status.stage is not None
    await until(readers)
    assert "slow.txt is still being read" in (await documents.material(chat, "What?", 500, count)).notes[0]
    await documents.remove(chat, 1)
    assert not readers()
    assert await documents.listed(chat) == []
    assert (await documents.material(chat, "What?", 500, count)).notes == ()
    assert stored(tmp_path / "") == []
    (again,) = await attach(documents, chat, {"a.txt": b"Text."})
    assert again.file.number == 2, "numbers are never used twice"


async def test_removal_counts_from_the_next_turn_on(documents: ChatDocuments, chat: int) -> None:
    await attach(documents, chat, {"a.txt": b"Alpha.", "b.txt": b"Beta."})
    await documents.remove(chat, 1)
    whole = (await documents.material(chat, "What?", 100, count)).whole
    assert whole is not None
    assert "Alpha" not in whole
    assert "Beta" in whole
    with pytest.raises(NotFound):
        await documents.remove(chat, 1)


async def test_equal_files_are_stored_once_and_stay_while_one_needs_them(
    documents: ChatDocuments, chat: int, tmp_path: Path
) -> None:
    other = await documents.chat_row(2, 1)
    await attach(documents, chat, {"a.txt": b"Same."})
    await attach(documents, other, {"b.txt": b"Same."})
    assert len(stored(tmp_path)) == 1
    await documents.remove(chat, 1)
    file, path = await documents.content(other, 1)
    assert path.read_bytes() == b"Same."
    assert file.name == "b.txt"
    await documents.remove_all(other)
    assert stored(tmp_path) == []


async def test_what_a_killed_server_left_is_parsed_again(tmp_path: Path) -> None:
    async with documents_in(tmp_path) as documents:
        chat = await documents.chat_row(1, 1)
        await attach(documents, chat, {"slow.txt": SLOW[:600_000], "a.txt": b"Alpha."}, settle=False)
        (tmp_path / "files" / "aa").mkdir(exist_ok=True)
        (tmp_path / "files" / "aa" / ("a" * 64)).write_bytes(b"of no chat")
    async with documents_in(tmp_path) as documents:
        assert len(stored(tmp_path)) == 2
        assert [status.file.state for status in await documents.listed(chat)] == ["parsing"] * 2
        await documents.settled(chat)
        slow, other = await documents.listed(chat)
        assert (slow.file.state, slow.file.characters) == ("ready", 600_000)
        assert other.file.state == "ready"


async def test_a_chat_that_is_deleted_meanwhile(documents: ChatDocuments, chat: int, tmp_path: Path) -> None:
    await attach(documents, chat, {"slow.txt": SLOW}, settle=False)
    await documents.remove_all(chat)
    assert stored(tmp_path) == []
    assert not readers()


async def test_a_reader_that_is_killed_fails_its_file_alone(documents: ChatDocuments, chat: int) -> None:
    await attach(documents, chat, {"slow.txt": SLOW, "a.txt": b"Alpha."}, settle=False)
    await until(readers)
    readers()[0].kill()
    await documents.settled(chat)
    slow, other = await documents.listed(chat)
    assert slow.file.state == "failed"
    assert slow.file.error is not None
    assert "SIGKILL" in slow.file.error
    assert other.file.state == "ready"


async def test_people_have_their_own_chats(documents: ChatDocuments) -> None:
    with pytest.raises(NotFound, match="no such chat"):
        await documents.chat_row(2, 2)
    with pytest.raises(NotFound, match="no such chat"):
        await documents.chat_row(3, 1)


async def test_limits(tmp_path: Path) -> None:
    async with documents_in(tmp_path, limits=FileLimits(file_bytes=100, files_per_chat=2)) as documents:
        chat = await documents.chat_row(1, 1)
        upload = documents.upload("a.txt")
        await upload.write(b"x" * 100)
        with pytest.raises(FileTooLarge) as told:
            await upload.write(b"x")
        assert told.value.details == {"file": "a.txt", "limit_bytes": 100}
        await upload.discard()
        with pytest.raises(Conflict, match="2 files at most"):
            await attach(documents, chat, {"a.txt": b"1", "b.txt": b"2", "c.txt": b"3"})
        assert await documents.listed(chat) == []
        with pytest.raises(UnsupportedFile, match=r"setup\.exe cannot be attached: .*\.exe"):
            documents.upload("setup.exe")
        with pytest.raises(UnreadableFile, match="but is a program for Linux"):
            await attach(documents, chat, {"notes.txt": b"\x7fELF" + bytes(50)})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\Users\\anna\\brief.docx", "brief.docx"),
        ("/tmp/..", "file"),
        ("..", "file"),
        ("", "file"),
        ("a\x00b\x1b[31m\n.txt", "ab[31m.txt"),
        ("\u202egnp.txt", "gnp.txt"),
        ("  Größe   der\tWelt .md ", "Größe derWelt .md"),
        ("Gro\u0308ße.md", "Größe.md"),
        ("a.txt:evil.exe", "a.txt_evil.exe"),
        ("日本語.txt", "日本語.txt"),
        ("x" * 300 + ".txt", "x" * 196 + ".txt"),
        ("\ud800.txt", ".txt"),
    ],
)
def test_names_are_neutralised(given: str, shown: str) -> None:
    assert display_name(given) == shown
