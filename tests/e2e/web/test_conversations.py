"""The list of conversations: found, named, deleted, taken out and in."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.web.conftest import Web, imported
from tests.served import Served


def links(page: Page) -> Locator:
    return page.get_by_role("navigation", name="List of conversations").get_by_role("link")


def test_new_renamed_and_found(web: Web, quick: Served) -> None:
    imported(quick.url, "Bea", [("user", "Of anchors"), ("assistant", "They hold.")], title="Anchors")
    new = imported(quick.url, "Bea", [("user", "Of sails"), ("assistant", "They pull.")], title="Sails")
    page = web.open(f"{quick.url}/#/chats/{new}", name="Bea")
    expect(links(page)).to_have_count(2)
    page.get_by_role("button", name="Rename Sails").click()
    page.get_by_label("Title").fill("Canvas")
    page.keyboard.press("Enter")
    expect(links(page).filter(has_text="Canvas")).to_have_count(1)
    page.reload()
    expect(links(page).filter(has_text="Canvas")).to_have_count(1)

    page.keyboard.press("Control+k")
    page.keyboard.type("hold")
    expect(links(page)).to_have_text([re.compile("Anchors.*They hold")])
    page.get_by_label("Search conversations").fill("nothing of the kind")
    expect(page.get_by_text("Nothing was found.")).to_be_visible()
    page.get_by_label("Search conversations").fill("")
    expect(links(page)).to_have_count(2)

    page.keyboard.press("Control+Shift+o")
    expect(page).to_have_url(re.compile(r"#/$"))
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_deleted_with_a_way_back(web: Web, quick: Served) -> None:
    new = imported(quick.url, "Cid", [("user", "a"), ("assistant", "b")], title="Short-lived")
    page = web.open(f"{quick.url}/#/chats/{new}", name="Cid")
    page.get_by_role("button", name="Delete Short-lived").click()
    expect(links(page)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(links(page)).to_have_count(1)
    page.get_by_role("link", name="Short-lived").click()
    page.get_by_role("button", name="Delete Short-lived").click()
    page.close()  # what was deleted is deleted, though the time to undo it had not passed
    again = web.open(quick.url, name="Cid")
    expect(again.get_by_text("Nothing here yet.")).to_be_visible()


def test_exported_and_imported(web: Web, quick: Served, tmp_path: Path) -> None:
    new = imported(quick.url, "Dan", [("user", "Of knots"), ("assistant", "A **bowline**.")], title="Knots")
    page = web.open(f"{quick.url}/#/chats/{new}", name="Dan")
    taken = {}
    for kind, label in (("md", "Export as Markdown"), ("json", "Export as JSON")):
        page.get_by_role("button", name="This conversation").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=label).click()
        assert download.value.suggested_filename == f"Knots.{kind}"
        download.value.save_as(tmp_path / f"Knots.{kind}")
        taken[kind] = (tmp_path / f"Knots.{kind}").read_text()
    assert "A **bowline**." in taken["md"]
    assert json.loads(taken["json"])["title"] == "Knots"

    page.get_by_label("Conversations to import").set_input_files([tmp_path / "Knots.json"])
    expect(links(page)).to_have_count(2)
    expect(page.locator(".prose strong")).to_have_text("bowline")
    page.get_by_label("Conversations to import").set_input_files([tmp_path / "Knots.md"])
    expect(page.get_by_role("region", name="Notices")).to_contain_text("Knots.md was not imported")


def test_thousands_by_day_without_slowing(web: Web, quick: Served) -> None:
    now = datetime.now(UTC)
    known = [
        {
            "chat_id": 5000 - number,
            "title": f"Conversation {number}",
            "created_at": (now - timedelta(hours=number)).isoformat(),
            "updated_at": (now - timedelta(hours=number)).isoformat(),
            "message_count": 2,
            "preview": "",
        }
        for number in range(5000)
    ]

    def listing(route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query)
        begin = 5000 - int(asked["before"][0]) + 1 if "before" in asked else 0
        end = begin + int(asked["limit"][0])
        route.fulfill(json={"chats": known[begin:end], "more": end < 5000})

    page = web.context(quick.url).new_page()
    page.route(re.compile(r"/chats\?"), listing)
    page.goto(quick.url)
    expect(page.get_by_text("Today", exact=True)).to_be_visible()
    expect(links(page).first).to_have_text("Conversation 0")
    frame = page.get_by_role("navigation", name="List of conversations")
    last = page.get_by_role("link", name="Conversation 4999", exact=True)
    deadline = time.monotonic() + 20
    while not last.is_visible() and time.monotonic() < deadline:
        frame.evaluate("nav => nav.scrollTop = nav.scrollHeight")
        page.wait_for_timeout(20)
    expect(last).to_be_visible()
    assert links(page).count() < 80
    began = time.monotonic()
    frame.evaluate("nav => nav.scrollTop = 0")
    expect(links(page).first).to_have_text("Conversation 0")
    assert time.monotonic() - began < 1
