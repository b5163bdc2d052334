"""Talking: answers as they come, versions, and what stands under them."""

from __future__ import annotations

import re
from contextlib import ExitStack

import httpx
from playwright.sync_api import expect

from tests.e2e.conftest import STARTER, Server, until
from tests.e2e.web.conftest import Web, answers, finished, imported, new_chat, send
from tests.served import Served


def test_streams_an_answer_of_the_starter_model(web: Web, server: Server) -> None:
    page = web.open(server.url)
    send(page, "Say hello to the sea.")
    expect(answers(page)).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    last = finished(page)
    figures = last.get_by_role("list", name="Figures").inner_text()
    assert re.search(r"\d+ tokens?\b", figures)
    assert re.search(r"tokens/s", figures)
    assert re.search(r"first after \d+", figures)
    assert STARTER in figures
    expect(page).to_have_url(re.compile(r"#/chats/\d+$"))
    expect(page.get_by_role("navigation", name="List of conversations").get_by_role("link")).to_have_count(1)


def test_draws_markdown_code_tables_and_formulas(web: Web, quick: Served) -> None:
    page = web.open(quick.url)
    new = imported(quick.url, "Ada", [("user", "?"), ("assistant", "x")])
    page.goto(f"{quick.url}/#/chats/{new}")
    send(page, "Why do ropes chafe?")
    last = answers(page).last
    expect(last.locator("strong").first).to_have_text("rub against an edge")
    expect(last.locator("td[align=right]").first).to_have_text("30 %")
    expect(last.locator(".math .katex").first).to_be_visible()
    expect(last.locator(".hljs-keyword").first).to_have_text("def")
    page.get_by_role("button", name="Stop").click()
    expect(finished(page, 2).get_by_role("list", name="Figures")).to_contain_text("stopped")


def test_formulas_keep_their_styles_under_the_content_security_policy(web: Web, quick: Served) -> None:
    page = web.open(quick.url)
    tex = r"$\vec{F}$ $\pmb{v}$ $\fcolorbox{red}{white}{x}$ $\frac{1}{2}$ $\text{a \" style=\" b}$ $\notacommand$"
    new = imported(quick.url, "Ada", [("user", "?"), ("assistant", tex)])
    page.goto(f"{quick.url}/#/chats/{new}")
    formulas = answers(page).last.locator(".math .katex, .math .katex-error")
    expect(formulas).to_have_count(6)
    assert page.locator("[data-style]").count() == 0
    svg = formulas.nth(0).locator("svg").evaluate("node => node.style.width")
    shadow = formulas.nth(1).locator("mstyle, [style*=shadow]").first.evaluate("node => node.style.textShadow")
    border = formulas.nth(2).locator("[style*=solid]").first.evaluate("node => getComputedStyle(node).borderStyle")
    assert (svg, border) == ("0.471em", "solid")
    assert shadow != ""
    expect(formulas.nth(4)).to_contain_text('a \\" style=\\" b')


def test_copies_code_and_answers(web: Web, quick: Served) -> None:
    page = web.open(quick.url, permissions=["clipboard-read", "clipboard-write"])
    new = imported(quick.url, "Ada", [("user", "?"), ("assistant", "Look:\n\n```python\nprint('ahoy')\n```")])
    page.goto(f"{quick.url}/#/chats/{new}")
    page.get_by_role("button", name="Copy python code").click()
    assert page.evaluate("navigator.clipboard.readText()") == "print('ahoy')"
    page.get_by_role("button", name="Copy answer").click()
    assert page.evaluate("navigator.clipboard.readText()") == "Look:\n\n```python\nprint('ahoy')\n```"


def test_stop_ends_the_work_of_the_engine(web: Web, quick: Served) -> None:
    page = web.open(quick.url)
    send(page, "Go on for ever.")
    expect(answers(page).last).to_contain_text("chafe")
    page.get_by_role("button", name="Stop").click()
    expect(finished(page).get_by_role("list", name="Figures")).to_contain_text("stopped")
    assert_idle(quick)
    expect(page.get_by_label("Message", exact=True)).to_be_enabled()


def test_closing_the_tab_ends_it_after_the_grace_time(web: Web, quick: Served) -> None:
    page = web.open(quick.url)
    send(page, "Go on for ever.")
    expect(answers(page).last).to_contain_text("chafe")
    page.close()
    assert_idle(quick)


def test_answers_again_and_edits_in_branches_with_a_way_back(web: Web, server: Server) -> None:
    page = web.open(server.url, name="Branches")
    send(page, "Name a colour.")
    first = finished(page).locator(".prose").inner_text()
    answers(page).last.hover()
    page.get_by_role("button", name="Answer again").click()
    last = finished(page)
    expect(last.get_by_role("group", name="Versions")).to_contain_text("2 / 2")
    last.get_by_role("button", name="Version before").click()
    expect(answers(page).last.locator(".prose")).to_have_text(first)

    page.get_by_role("article", name="You").hover()
    page.get_by_role("button", name="Edit message").click()
    page.get_by_label("Your message").fill("Name a number.")
    page.keyboard.press("Enter")
    finished(page)
    you = page.get_by_role("article", name="You")
    expect(you).to_contain_text("Name a number.")
    you.hover()
    you.get_by_role("button", name="Version before").click()
    expect(you).to_contain_text("Name a colour.")
    page.reload()
    expect(page.get_by_role("article", name="You")).to_contain_text("Name a colour.")


def test_waiting_shows_the_place_in_the_queue(web: Web, quick: Served) -> None:
    body = {"prompt": "Go on for ever.", "max_tokens": 3500}
    with quick.http() as http, ExitStack() as busy:
        streams = [
            busy.enter_context(http.stream("POST", "/infer_stream", json=body, headers={"X-Fairlead-User": name}))
            for name in ("Bea", "Col", "Dan", "Eve")
        ]
        page = web.open(quick.url, name="Waiting")
        send(page, "And I?")
        expect(answers(page).get_by_role("status")).to_have_text(re.compile("Next in the queue|before yours"))
        streams[0].close()
        expect(answers(page).last).to_contain_text("chafe")
        page.get_by_role("button", name="Stop").click()
        finished(page)


def test_says_what_was_left_out_of_the_context(web: Web, quick: Served) -> None:
    long = "So many words about so many ropes. " * 120
    told = [("user" if turn % 2 == 0 else "assistant", f"{turn} {long}") for turn in range(10)]
    new = imported(quick.url, "Ada", told)
    page = web.open(f"{quick.url}/#/chats/{new}")
    send(page, "And now?")
    expect(answers(page).last).to_contain_text("chafe")
    page.get_by_role("button", name="Stop").click()
    expect(answers(page).last.get_by_role("note")).to_have_text(re.compile(r"earlier messages? \(.* did not fit"))


def test_what_was_refused_is_not_lost(web: Web, quick: Served) -> None:
    web.seen.expected = ("400",)
    new = new_chat(quick.url, "Ada", on_overflow="error")
    page = web.open(f"{quick.url}/#/chats/{new}")
    text = "far too long " * 4000
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Notices")).to_contain_text("context")
    assert page.get_by_label("Message", exact=True).input_value() == text.strip()


def assert_idle(server: Served) -> None:
    """The engine comes to have nothing to do."""
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        until(lambda: all(model["running"] == 0 for model in http.get("/queue").json()["models"]), within_s=10)
