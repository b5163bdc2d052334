"""Files of a chat through the typed clients: a whole server with a tiny BERT, from the form to an answer's sources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairlead.chat_client import Chats
from fairlead.chat_info import ChatAnswer
from fairlead.client import FairleadClient
from fairlead.errors import ChatNotFound, FileTooLarge, NotFound, UnreadableFile, UnsupportedFile
from fairlead.file_client import ChatFiles
from tests.documents import made
from tests.documents.made import PARAGRAPH
from tests.served import Served, serving, settings_with_models
from tests.service.test_documents import stored

FISH = "Herring, cod and plaice are what the harbour lives from."
GUIDE = "".join(f"# Part {part}\n\n{PARAGRAPH * 6}\n\n" for part in range(12)) + f"# Fish\n\n{FISH}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Served]:
    settings = settings_with_models(home, context_length=4096, kv_tokens=16384, max_file_bytes=100_000)
    with serving(settings) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[FairleadClient]:
    async with FairleadClient(served.url) as connected:
        yield connected


async def ask(chats: Chats, number: int, question: str) -> ChatAnswer:
    last = [told async for told in chats.send(number, question, temperature=0.0, max_tokens=8)][-1]
    assert isinstance(last, ChatAnswer)
    return last


async def test_files_from_the_form_to_the_answers_sources(client: FairleadClient, home: Path) -> None:
    chats = Chats(client, "anna")
    number = (await chats.create()).chat_id
    files = ChatFiles(client, number, "anna")

    (note,) = await files.attach({"größe.txt": "Die Größe zählt.".encode()})
    assert (await files.settled(note.file_id)).state == "ready"
    whole = await ask(chats, number, "What counts?")
    assert (whole.files.whole, whole.files.selected, whole.files.notes) == (True, False, [])
    assert [(source.name, source.text) for source in whole.sources] == [("größe.txt", "")]
    again = await ask(chats, number, "And now?")
    assert again.usage.cached_tokens > 0, "what is given whole stands where it stood"

    guide, scan = await files.attach({"guide.md": GUIDE.encode(), "scan.pdf": made.pdf([None])})
    assert (await files.settled(guide.file_id)).characters == len(GUIDE)
    assert (await files.settled(scan.file_id)).error == "It holds no text: page 1 is an image without text."
    chosen = await ask(chats, number, "Does the harbour live from herring, cod or plaice?")
    assert (chosen.files.whole, chosen.files.selected) == (False, True)
    assert any("scan.pdf could not be read" in told for told in chosen.files.notes)
    assert (chosen.sources[0].file_id, chosen.sources[0].name) == (guide.file_id, "guide.md")
    assert any(FISH in source.text for source in chosen.sources)
    (question, answer) = (await chats.open(number)).messages[-2:]
    assert question.content == "Does the harbour live from herring, cod or plaice?"
    assert answer.sources == chosen.sources

    assert await files.content(guide.file_id) == GUIDE.encode()
    await files.remove(guide.file_id)
    after = await ask(chats, number, "Herring?")
    assert (after.files.whole, after.files.selected) == (True, False)
    assert [file.file_id for file in await files.list()] == [note.file_id, scan.file_id]
    with pytest.raises(NotFound):
        await files.look_at(guide.file_id)
    await chats.delete(number)
    assert stored(home) == []
    with pytest.raises(ChatNotFound):
        await files.list()


async def test_refusals_are_the_servers_own(client: FairleadClient) -> None:
    chats = Chats(client, "anna")
    files = ChatFiles(client, (await chats.create()).chat_id, "anna")
    for name, data, error in (
        ("a.exe", b"MZ", UnsupportedFile),
        ("a.txt", b"\x7fELF" + bytes(99), UnreadableFile),
        ("a.txt", b"x" * 100_001, FileTooLarge),
    ):
        with pytest.raises(error) as told:
            await files.attach({"good.txt": b"Good.", name: data})
        assert told.value.details["file"] == name
    assert await files.list() == []
    with pytest.raises(ChatNotFound):
        await ChatFiles(client, 1, "bert").list()
