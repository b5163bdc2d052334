"""Choosing a model, with what it takes; loading, unloading and switching while answers run."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.conftest import STARTER, TINY, Server
from tests.e2e.web.conftest import Web, answers, finished, send
from tests.served import Served


def row(page: Page, name: str) -> Locator:
    """A model's row in the open dialog."""
    named = page.get_by_role("heading", name=re.compile(rf"^{re.escape(name)}\b"))
    return page.get_by_role("dialog", name="Models").get_by_role("listitem").filter(has=named)


def open_models(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^(No model|smollm2|ropes|tiny|hello)")).click()


def test_tells_state_size_and_need_and_switches_while_chatting(web: Web, server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        http.post("/unload_model", json={"name": TINY})
    web.seen.expected = ("/cancel",)  # of an answer that has ended by itself
    page = web.open(server.url, name="Switch")
    send(page, "Count to three.")
    finished(page)
    open_models(page)
    expect(row(page, STARTER)).to_contain_text(re.compile(r"loaded .*135M parameters.*98 MB"))
    expect(row(page, STARTER)).to_contain_text(re.compile(r"Takes \d+ MB of memory"))
    expect(row(page, TINY)).to_contain_text("on disk")
    expect(row(page, TINY)).to_contain_text(re.compile(r"Needs .* of memory; .* can be had"))
    row(page, TINY).get_by_role("button", name="Use").click()
    expect(row(page, TINY)).to_contain_text("this conversation")
    expect(row(page, TINY)).to_contain_text("loaded")
    page.keyboard.press("Escape")
    send(page, "And on.")
    answers(page).nth(1).wait_for()
    page.get_by_role("button", name="Stop").or_(page.get_by_role("button", name="Send")).first.wait_for()
    page.keyboard.press("Escape")
    expect(finished(page, 2).get_by_role("list", name="Figures")).to_contain_text(TINY)
    open_models(page)
    row(page, TINY).get_by_role("button", name="Unload").click()
    expect(row(page, TINY)).to_contain_text("on disk")


def test_one_that_does_not_fit_says_so(web: Web, quick: Served) -> None:
    web.seen.expected = ("507",)
    page = web.open(quick.url)
    open_models(page)
    row(page, "heavy").get_by_role("button", name="Load").click()
    expect(row(page, "heavy").get_by_role("alert")).to_contain_text("needs 2 kB; 1 kB is free")


def test_a_load_shows_progress_and_can_be_cancelled(web: Web, quick: Served) -> None:
    page = web.open(quick.url)
    open_models(page)
    sluggish = row(page, "sluggish")
    sluggish.get_by_role("button", name="Load").click()
    expect(sluggish.get_by_role("progressbar")).to_be_visible()
    sluggish.get_by_role("button", name="Cancel").click()
    expect(sluggish.get_by_role("button", name="Load")).to_be_visible()
    expect(sluggish).to_contain_text("on disk")


def test_a_download_tells_how_far_it_is_and_can_be_cancelled(web: Web, quick: Served) -> None:
    page = web.context(quick.url).new_page()
    cancelled: list[str] = []

    def listing(route: Route) -> None:
        body = route.fetch().json()
        absent = next(model for model in body["models"] if model["name"] == "absent")
        progress = {"phase": "downloading", "bytes": 700_000_000, "total": 2_000_000_000, "eta_ms": 61_000}
        absent |= {"state": "available"} if cancelled else {"state": "downloading", "progress": progress}
        route.fulfill(json=body)

    def unload(route: Route) -> None:
        cancelled.append(route.request.post_data or "")
        route.fulfill(json={})

    page.route("**/models", listing)
    page.route("**/unload_model", unload)
    page.goto(quick.url)
    open_models(page)
    absent = row(page, "absent")
    expect(absent).to_contain_text("700 MB of 2.0 GB, 1 min 1 s left")
    expect(absent.get_by_role("progressbar")).to_have_attribute("value", "35")
    absent.get_by_role("button", name="Cancel").click()
    expect(absent.get_by_role("button", name="Download")).to_be_visible()
    assert cancelled == ['{"name":"absent"}']


def test_a_download_that_fails_tells_why(web: Web, quick: Served, tmp_path: Path) -> None:
    page = web.open(quick.url)
    open_models(page)
    row(page, "absent").get_by_role("button", name="Download").click()
    expect(row(page, "absent").get_by_role("alert")).to_contain_text("could not be fetched")
