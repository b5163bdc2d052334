"""What models, files and people write does nothing: a canary host hears of nobody."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.web.conftest import HOSTILE, Web, answers, imported, send
from tests.served import Served


@pytest.fixture
def hostile(quick: Served) -> str:
    with httpx.Client(base_url=quick.url, trust_env=False) as http:
        http.post("/load_model", json={"name": "hostile"}).raise_for_status()
    return quick.url


def test_scripts_links_and_pictures_in_answers_titles_and_names_do_nothing(web: Web, hostile: str) -> None:
    name = '<img src="https://canary.example/n" onerror="document.title=1">'
    title = "<img src=https://canary.example/t onerror=alert(1)><script>alert(1)</script>"
    new = imported(hostile, "Mia", [("user", HOSTILE), ("assistant", HOSTILE)], title=title)
    page = web.open(f"{hostile}/#/chats/{new}", name="Mia")
    page.on("dialog", lambda _: web.seen.errors.append("a script ran"))
    with httpx.Client(base_url=hostile, headers={"X-Fairlead-User": "Mia"}, trust_env=False) as http:
        http.patch(f"/chats/{new}", json={"model": "hostile"}).raise_for_status()
    page.reload()
    send(page, HOSTILE)
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last.get_by_role("list", name="Figures")).to_be_visible()
    page.keyboard.press("Control+m")
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    assert page.locator("[role=log] :is(script, img, iframe, style, link, object, form)").count() == 0
    other = web.open(hostile, name=name)
    expect(other.get_by_text(name).first).to_be_visible()


def test_a_link_shows_where_it_leads_before_it_does(web: Web, quick: Served) -> None:
    new = imported(quick.url, "Mia", [("user", "?"), ("assistant", "[help](https://canary.example/?secret=1)")])
    page = web.open(f"{quick.url}/#/chats/{new}", name="Mia")
    page.get_by_role("link", name="help").click()
    expect(page.get_by_role("dialog", name="Leave this page?")).to_contain_text("https://canary.example/?secret=1")
    page.get_by_role("button", name="Stay").click()
    page.get_by_role("link", name="help").click(button="middle")
    expect(page.get_by_role("dialog", name="Leave this page?")).to_be_visible()
    assert len(page.context.pages) == 1


def test_the_browser_holds_the_page_to_its_policy(web: Web, quick: Served) -> None:
    web.seen.expected = (
        "Content Security Policy",
        "TrustedHTML",
        "Refused",
        "Failed to fetch",
        "TrustedHTML",
        "Trusted",
    )
    page = web.open(quick.url)
    assert page.evaluate("fetch('https://canary.example/x').then(() => 'sent', () => 'held')") == "held"
    markup = "() => { try { document.body.innerHTML = '<b>x</b>'; return 'set' } catch { return 'held' } }"
    assert page.evaluate(markup) == "held"
    inline = """() => {
        const script = document.createElement('script');
        try { script.textContent = 'window.ran = 1'; document.head.append(script) } catch {}
        return window.ran ?? 'held';
    }"""
    assert page.evaluate(inline) == "held"
    web.seen.foreign.clear()  # what the browser held back is announced as a request all the same
