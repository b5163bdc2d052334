"""A server that goes and comes back, and an answer that is taken up again."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import STARTER, Server, start
from tests.e2e.web.conftest import Web, answers, finished, holds, send
from tests.served import Served


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def mortal(home: Path, starter_model: Path) -> Iterator[Server]:
    """A server that a test ends."""
    running = start(home, starter_model)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(30)


def test_a_lost_connection_is_found_again_and_the_answer_goes_on(web: Web, quick: Served) -> None:
    web.seen.expected = ("ERR_INTERNET_DISCONNECTED", "ERR_NETWORK")
    page = web.open(quick.url)
    send(page, "Tell me.")
    expect(answers(page).last).to_contain_text("chafe")
    page.context.set_offline(True)
    page.evaluate("window.stop()")
    expect(page.get_by_role("button", name="Server: away")).to_be_visible()
    expect(answers(page).get_by_role("status")).to_contain_text("The connection was lost")
    page.context.set_offline(False)
    expect(page.get_by_role("button", name="Server: well")).to_be_visible()
    before = len(answers(page).last.inner_text())
    holds(page, f"document.querySelector('.prose').innerText.length > {before + 800}")
    page.get_by_role("button", name="Stop").click()
    text = finished(page).locator(".prose").evaluate("prose => prose.textContent")
    rounds = text.split("The end of it.")[:-1]
    assert len(rounds) > 1
    assert len({" ".join(one.split()) for one in rounds}) == 1, "torn"


def test_an_answer_is_taken_up_by_another_tab(web: Web, quick: Served) -> None:
    first = web.open(quick.url)
    send(first, "Tell me.")
    expect(answers(first).last).to_contain_text("chafe")
    second = first.context.new_page()
    second.goto(first.url)
    expect(answers(second).last).to_contain_text("chafe")
    expect(answers(second)).to_have_attribute("aria-busy", "true")
    second.get_by_role("button", name="Stop").click()
    for page in (first, second):
        expect(finished(page).get_by_role("list", name="Figures")).to_contain_text("stopped")


def test_tells_of_a_server_that_went_and_goes_on_when_it_is_back(
    web: Web, mortal: Server, home: Path, starter_model: Path
) -> None:
    web.seen.expected = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "503")
    page = web.open(mortal.url)
    send(page, "Say a word.")
    finished(page)
    mortal.process.kill()
    mortal.process.wait()
    expect(page.get_by_role("button", name=re.compile("Server: away. The server cannot be reached"))).to_be_visible()
    page.get_by_label("Message", exact=True).fill("Are you there?")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_have_value("Are you there?")

    again = start(home, starter_model, port=int(mortal.url.rpartition(":")[2]))
    try:
        expect(page.get_by_role("button", name="Server: well")).to_be_visible()
        page.get_by_label("Message", exact=True).focus()
        page.keyboard.press("Enter")
        finished(page, 2)
    finally:
        again.process.send_signal(signal.SIGTERM)
        again.process.wait(30)


def test_the_panel_shows_what_the_machine_does(web: Web, server: Server) -> None:
    page = web.open(server.url, name="Panel")
    page.get_by_role("button", name="Server: well").click()
    panel = page.get_by_role("complementary", name="Server")
    expect(panel).to_contain_text("All is well.")
    expect(panel.get_by_role("region", name=STARTER)).to_be_visible()
    expect(panel).to_contain_text(re.compile(r"Memory of models\s*\d+ MB"))
    page.get_by_label("Message", exact=True).fill("Write a very long story about a ship that sails round the world.")
    page.keyboard.press("Enter")
    expect(panel).to_contain_text(re.compile(r"Answering\s*1"))
    expect(panel).to_contain_text(re.compile(r"Speed\s*[1-9]\d* tokens/s"))
    page.keyboard.press("Escape")
