"""Who sits before the page, and tabs that stay in step."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from fairlead.service.keys import Keys
from tests.e2e.web.conftest import Web, answers, finished, imported, send
from tests.served import Served, serving, settings_with_models


def test_comes_in_by_a_name_and_leaves(web: Web, quick: Served) -> None:
    imported(quick.url, "Žofie 李", [("user", "a"), ("assistant", "b")], title="Hers")
    page = web.open(quick.url, name=None)
    page.get_by_label("Your name").fill("Žofie 李")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Hers")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="Hers")).to_be_visible()
    page.get_by_role("button", name="Žofie 李").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.get_by_label("Your name").fill("Somebody else")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing here yet.")).to_be_visible()


def test_tabs_stay_in_step(web: Web, quick: Served) -> None:
    new = imported(quick.url, "Eve", [("user", "a"), ("assistant", "b")], title="Shared")
    first = web.open(f"{quick.url}/#/chats/{new}", name="Eve")
    second = first.context.new_page()
    second.goto(f"{quick.url}/#/chats/{new}")
    expect(answers(second)).to_have_count(1)

    first.get_by_role("button", name="Rename Shared").click()
    first.get_by_label("Title").fill("Named")
    first.keyboard.press("Enter")
    expect(second.get_by_role("link", name="Named")).to_be_visible()
    expect(second.get_by_role("heading", name="Named")).to_be_visible()

    send(first, "Tell me.")
    expect(answers(second)).to_have_count(2)
    expect(answers(second).last).to_contain_text("chafe")
    second.get_by_role("button", name="Stop").click()
    finished(first, 2)

    first.get_by_role("button", name="Delete Named").click()
    expect(second.get_by_role("link", name="Named")).to_have_count(0)
    expect(second.get_by_text("What shall we look into")).to_be_visible()

    first.get_by_role("button", name="Eve").click()
    first.get_by_role("menuitem", name="Sign out").click()
    expect(second.get_by_label("Your name")).to_be_visible()


def test_other_devices_see_what_was_done_when_they_are_looked_at(web: Web, quick: Served) -> None:
    desk = web.open(quick.url, name="Fay")
    phone = web.open(quick.url, name="Fay", viewport={"width": 390, "height": 800}, has_touch=True)
    send(desk, "Short.")
    expect(answers(desk).last).to_contain_text("chafe")
    desk.get_by_role("button", name="Stop").click()
    finished(desk)
    phone.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    phone.get_by_role("button", name="Conversations").click()
    phone.get_by_role("link", name="Short.").click()
    finished(phone)


def test_comes_in_by_a_key_where_the_server_asks_for_one(web: Web, tmp_path_factory: pytest.TempPathFactory) -> None:
    web.seen.expected = ("401",)
    settings = settings_with_models(tmp_path_factory.mktemp("secured"))
    with serving(settings, "hello") as server:
        made = server.do(Keys(server.services.store.database, settings.key_secret).add("Grace"))
        page = web.open(server.url, name=None)
        page.get_by_label("Your key").fill("fl_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("The server does not know this key.")
        page.get_by_label("Your key").fill(str(made))
        page.keyboard.press("Enter")
        expect(page.get_by_text("What shall we look into, Grace?")).to_be_visible()
        send(page, "Hello?")
        finished(page)
        page.reload()
        expect(finished(page)).to_contain_text("wörld")
        page.get_by_role("button", name="Grace", exact=True).click()
        page.get_by_role("menuitem", name="Sign out").click()
        expect(page.get_by_label("Your key")).to_be_visible()
