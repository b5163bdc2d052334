"""The typed client of chats, against a whole server and a proxy that breaks connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from fairlead import chat_client
from fairlead.answer_info import Text
from fairlead.chat_client import Chats, Told
from fairlead.chat_info import ChatAnswer, Started
from fairlead.client import FairleadClient, Unreachable
from fairlead.errors import ChatNotFound, Conflict, EngineFailed
from tests.served import HELLO, Served, serving, settings_with_models


class Breaking:
    """A proxy that breaks a connection when so many bytes have come from the server, as many times as it is told."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._connections: set[asyncio.Task[None]] = set()
        self.breaks_after: list[int] = []
        self.broken = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The URL of the proxy."""
        listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = listening.sockets[0].getsockname()
        yield f"http://{host}:{port}"
        listening.close()
        await asyncio.gather(*self._connections)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self.breaks_after.pop(0) if self.breaks_after else None
        theirs, to_them = await asyncio.open_connection(self._host, self._port)
        up = asyncio.ensure_future(self._pump(reader, to_them))
        with contextlib.suppress(ConnectionError):
            while data := await theirs.read(64):
                if left is not None and (left := left - len(data)) < 0:
                    self.broken += 1
                    writer.transport.abort()
                    break
                writer.write(data)
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)
        for end in (writer, to_them):
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings_with_models(tmp_path_factory.mktemp("client"))) as server:
        with server.http() as http:
            http.post("/load_model", json={"name": "slow"}).raise_for_status()
        yield server


@pytest.fixture
async def chats(served: Served) -> AsyncIterator[Chats]:
    async with FairleadClient(served.url) as client:
        yield Chats(client, "anna")


async def read(stream: AsyncGenerator[Told]) -> tuple[str, Told]:
    told = [event async for event in stream]
    return "".join(event.text for event in told if isinstance(event, Text)), told[-1]


async def test_a_chat_from_its_number_to_its_end(chats: Chats) -> None:
    number = await chats.next_id()
    text, answer = await read(chats.generate(number, "Hi", temperature=0.0))
    assert text == HELLO
    assert isinstance(answer, ChatAnswer)
    assert (answer.finish_reason, answer.model, answer.message_id) == ("stop", "hello", 2)
    assert answer.usage.completion_tokens > 0
    assert (await read(chats.send(number, "More")))[0] == HELLO
    assert (await read(chats.regenerate(number, 4)))[0] == HELLO
    assert (await read(chats.edit(number, 3, "Less")))[0] == HELLO
    assert (await read(chats.follow(number, "2:7")))[0] == HELLO[7:]
    chat = await chats.open(number)
    assert [message.content for message in chat.messages] == ["Hi", HELLO, "Less", HELLO]
    assert chat.messages[2].siblings == [3, 6]
    assert chat.messages[1].usage == answer.usage
    assert len(await chats.messages(number)) == 7
    shown = await chats.change(number, leaf=3, title="Mine")
    assert [message.content for message in shown.messages] == ["Hi", HELLO, "More", HELLO]
    page = await chats.page("more")
    assert [(listed.chat_id, listed.title) for listed in page.chats] == [(number, "Mine")]
    assert page.chats[0].match is not None
    taken = await chats.take_in(await chats.export(number, "json"))
    assert taken.message_count == 7
    assert (await chats.export(taken.chat_id)).startswith(b"# Mine\n")
    await chats.delete(number)
    with pytest.raises(ChatNotFound):
        await chats.open(number)
    assert [listed.chat_id for listed in (await chats.page(limit=1)).chats] == [taken.chat_id]
    assert not (await chats.page(before=taken.chat_id)).chats


async def test_an_answer_whose_connection_breaks_again_and_again(
    served: Served, chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_WAIT_S", 0.01)
    proxy = Breaking(served.url)
    number = (await chats.create(model="slow")).chat_id
    async with proxy.listening() as url, FairleadClient(url) as client:
        proxy.breaks_after = [900, 500, 0, 900, 450]
        lossy = Chats(client, "anna")
        told = [event async for event in lossy.send(number, "Hi", max_tokens=40)]
    assert proxy.broken >= 3
    assert isinstance(told[0], Started)
    assert sum(isinstance(event, Started) for event in told) == 1
    text = "".join(event.text for event in told if isinstance(event, Text))
    assert text == (await chats.open(number)).messages[1].content
    assert isinstance(told[-1], ChatAnswer)


async def test_a_question_that_may_not_be_stored_is_not_asked_again(served: Served, chats: Chats) -> None:
    proxy = Breaking(served.url)
    number = (await chats.create()).chat_id
    async with proxy.listening() as url, FairleadClient(url) as client:
        proxy.breaks_after = [0]
        with pytest.raises(Unreachable):
            await read(Chats(client, "anna").send(number, "Hi"))


async def test_errors_are_the_servers_own(served: Served, chats: Chats) -> None:
    with pytest.raises(ChatNotFound):
        await read(chats.send(999, "Hi"))
    number = (await chats.create(model="slow")).chat_id
    stream = chats.send(number, "Hi", max_tokens=200)
    await anext(stream)
    with pytest.raises(Conflict):
        await read(chats.send(number, "More"))
    await chats.delete(number)
    await stream.aclose()
    await chats._client.call("POST", "/load_model", dict, body={"name": "mortal"})
    number = (await chats.create(model="mortal")).chat_id
    with pytest.raises(EngineFailed):
        await read(chats.send(number, "#"))
