"""What is sent at first, how soon a long conversation is there, and how smooth a fast answer is."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from fairlead.api.page import BUILT, page_files
from tests.e2e.web.conftest import Web, answers, holds, imported, send
from tests.served import Served

FIRST_LOAD_BYTES = 150_000
PAINT_MS = 1000
FRAME_MS = 50


def test_little_is_sent_at_first() -> None:
    files = page_files(BUILT)
    if "index.html" not in files:
        pytest.skip("the web page was not built: `make build` does it")
    start = files["index.html"].bodies[""].decode()
    scripts = re.findall(r'(?:src|href)="/(assets/[^"]+\.js)"', start)
    assert scripts
    for encoding in ("br", "gzip"):
        assert sum(len(files[script].bodies[encoding]) for script in scripts) <= FIRST_LOAD_BYTES


def test_a_thousand_messages_are_there_within_a_second(web: Web, quick: Served) -> None:
    told = [
        ("user", f"Question {n}?")
        if n % 2 == 0
        else ("assistant", f"**Answer** {n}:\n\n- one\n- `two`\n\n```python\nprint({n})\n```")
        for n in range(1000)
    ]
    new = imported(quick.url, "Noa", told)
    context = web.context(quick.url, name="Noa")
    context.add_init_script(
        """new MutationObserver((_, observer) => {
            if (document.querySelector(".prose strong") === null) return;
            observer.disconnect();
            requestAnimationFrame(() => setTimeout(() => (window.painted = performance.now())));
        }).observe(document, { childList: true, subtree: true })"""
    )
    times = []
    for _ in range(3):  # the best of three: others use this machine too
        page = context.new_page()
        page.goto(f"{quick.url}/#/chats/{new}")
        expect(answers(page).last).to_contain_text("Answer 999:")
        holds(page, "window.painted !== undefined")
        times.append(page.evaluate("window.painted"))
        if times[-1] <= PAINT_MS:
            break
        page.close()
    assert min(times) <= PAINT_MS, times
    assert answers(page).count() < 100
    frame = page.locator(".frame")
    while page.get_by_text("Question 0?").count() == 0:
        frame.evaluate("frame => frame.scrollTop = 0")
        page.wait_for_timeout(30)
    expect(page.get_by_text("Question 0?")).to_be_visible()


def test_two_hundred_tokens_a_second_are_drawn_smoothly(web: Web, quick: Served) -> None:
    page = web.open(quick.url, name="Oda")
    worst = []
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    for _ in range(3):  # the best of three: others use this machine too
        page.keyboard.press("Control+Shift+o")
        expect(answers(page)).to_have_count(0)
        send(page, "Tell me.")
        expect(answers(page).last.locator(".katex").first).to_be_visible()
        gaps = page.evaluate(
            """() => new Promise((resolve) => {
                const gaps = [];
                let last = performance.now();
                const end = last + 3000;
                const frame = (now) => {
                    gaps.push(now - last);
                    last = now;
                    if (now < end) requestAnimationFrame(frame);
                    else resolve(gaps.slice(1));
                };
                requestAnimationFrame(frame);
            })"""
        )
        page.get_by_role("button", name="Stop").click()
        expect(answers(page).last.get_by_role("list", name="Figures")).to_be_visible()
        worst.append(max(gaps))
        if worst[-1] < FRAME_MS:
            break
    assert min(worst) < FRAME_MS, worst
