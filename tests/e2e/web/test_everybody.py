"""For everybody: keyboards, screen readers, colours, sizes, directions and input methods."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.web.conftest import MARKDOWN, Axe, Web, answers, finished, imported, send
from tests.served import Served

ARABIC = "الحبل مجموعة من الألياف المفتولة معًا لتكوين خط قوي."


def conversation(page: Page) -> None:
    expect(answers(page).locator(".hljs-keyword").first).to_be_visible()
    expect(answers(page).locator(".katex").first).to_be_visible()


def models(page: Page) -> None:
    page.keyboard.press("Control+m")
    expect(page.get_by_role("dialog", name="Models").get_by_role("listitem").first).to_be_visible()


def panel(name: str) -> Callable[[Page], None]:
    def show(page: Page) -> None:
        page.get_by_role("button", name=re.compile(f"^{name}")).first.click()
        expect(page.get_by_role("complementary", name=name)).to_be_visible()

    return show


def settings(page: Page) -> None:
    panel("Settings")(page)
    page.get_by_text("More", exact=True).click()


def shortcuts(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def link(page: Page) -> None:
    page.get_by_role("link", name="the manual").click()
    expect(page.get_by_role("dialog", name="Leave this page?")).to_be_visible()


def edit(page: Page) -> None:
    page.get_by_role("article", name="You").hover()
    page.get_by_role("button", name="Edit message").click()
    expect(page.get_by_label("Your message")).to_be_visible()


def undo(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Delete ")).first.click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.get_by_role("button", name="Undo").hover()


def account(page: Page) -> None:
    page.get_by_role("button", name="Gil", exact=True).click()
    expect(page.get_by_role("menu")).to_be_visible()


def task(page: Page, key: str, name: str) -> None:
    page.keyboard.press(f"Alt+Shift+{key}")
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()


def summarize(page: Page) -> None:
    task(page, "S", "Summarise")
    page.get_by_label("Text").fill(f"A rope that chafes wears out. {'W' * 300}")
    page.get_by_role("button", name="Summarise").click()
    expect(page.get_by_role("region", name="Summary").get_by_role("list", name="Figures")).to_be_visible()


def answer(page: Page) -> None:
    task(page, "Q", "Answer")
    page.get_by_label("Question").fill("What wears out?")
    page.get_by_label("Text", exact=True).fill(f"A rope that chafes wears out. {'W' * 300}")
    page.get_by_label("Least score").fill("-1")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("region", name="Answer").get_by_role("list", name="Sources")).to_be_visible()


def new_collection(page: Page) -> None:
    task(page, "F", "Collections")
    page.get_by_label("Table", exact=True).set_input_files(
        {"name": "log.csv", "mimeType": "text/csv", "buffer": b"ship,note\nAda,Ropes chafed\nVega,Soup again\n"}
    )
    expect(page.get_by_role("region", name="The first rows")).to_be_visible()


def search(page: Page) -> None:
    task(page, "F", "Collections")
    page.get_by_role("link", name="topics").click()
    page.get_by_label("What the rows are to be about").fill("knots")
    page.get_by_text("Filters").click()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("region", name="Found rows").get_by_role("listitem").first).to_be_visible()


SCREENS: dict[str, Callable[[Page], None]] = {
    "conversation": conversation,
    "models": models,
    "settings": settings,
    "files": panel("Files"),
    "server": panel("Server"),
    "shortcuts": shortcuts,
    "link": link,
    "edit": edit,
    "account": account,
    "undo": undo,  # the last: what is deleted is gone with its page
}


def classify(page: Page) -> None:
    task(page, "C", "Classify")
    page.get_by_label("Texts").fill(f"It rained.\n{'W' * 300}")
    page.get_by_label("Labels").fill(f"weather\n{'ships' * 30}")
    page.get_by_text("Examples and instruction").click()
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.get_by_role("region", name="Classified texts").get_by_role("row")).to_have_count(3)


TASK_SCREENS = (summarize, answer, new_collection, search, classify)


SETTLED = """() => new Promise(requestAnimationFrame)
    .then(() => Promise.allSettled(document.getAnimations().map((animation) => animation.finished)))"""
"""Until colours have changed."""


def test_axe_finds_nothing_on_any_screen_in_light_or_dark(web: Web, quick: Served, axe: Axe) -> None:
    told = f"{MARKDOWN}\n\nSee [the manual](https://canary.example/) or `man rope`.\n\n> Quoted\n\n{ARABIC}"
    new = imported(quick.url, "Gil", [("user", "Why?"), ("assistant", told)], title="Ropes")
    context = web.context(quick.url, name="Gil", reduced_motion="reduce")
    problems = {}

    def look(page: Page, name: str, widths: tuple[int, int] = (1280, 1280)) -> None:
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for scheme, width in zip(schemes, widths, strict=True):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 740})
            page.evaluate(SETTLED)
            problems[name, scheme] = axe(page)
            assert page.evaluate("document.documentElement.scrollWidth") == width, name

    for name, show in SCREENS.items():
        page = context.new_page()
        page.goto(f"{quick.url}/#/chats/{new}")
        conversation(page)
        show(page)
        look(page, name)
        page.close()
    page = context.new_page()
    page.goto(quick.url)
    expect(page.get_by_text("What shall we look into")).to_be_visible()
    look(page, "new")
    for show in TASK_SCREENS:
        page.set_viewport_size({"width": 1280, "height": 740})
        show(page)
        look(page, show.__name__, (1280, 360))
        assert page.locator(".frame").evaluate("frame => frame.scrollWidth - frame.clientWidth") == 0, show.__name__
    page.close()
    door = web.open(quick.url, name=None, reduced_motion="reduce")
    expect(door.get_by_label("Your name")).to_be_visible()
    look(door, "door")
    assert {name: found for name, found in problems.items() if found} == {}


def test_all_by_the_keyboard(web: Web, quick: Served) -> None:
    page = web.open(quick.url, name=None)
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type("Hal")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("First")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="You")).to_have_text(re.compile("First\nsecond line"), use_inner_text=True)
    expect(answers(page).last).to_contain_text("chafe")
    page.keyboard.press("Escape")
    expect(finished(page).get_by_role("list", name="Figures")).to_contain_text("stopped")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Your message")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Your message")).to_have_count(0)
    expect(page.get_by_role("button", name="Edit message")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+m")
    expect(page.get_by_role("dialog", name="Models")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+o")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    expect(answers(page)).to_have_count(1)


def test_enter_that_composes_does_not_send(web: Web, quick: Served) -> None:
    page = web.open(quick.url)
    field = page.get_by_label("Message", exact=True)
    field.focus()
    session = page.context.new_cdp_session(page)
    session.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    page.evaluate(
        """() => document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true }))"""
    )
    session.send("Input.insertText", {"text": "日本"})
    expect(field).to_have_value("日本")
    expect(answers(page)).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="You")).to_contain_text("日本")


@pytest.mark.parametrize(("width", "height"), [(360, 640), (3840, 2160)])
def test_fits_from_a_phone_to_4k(web: Web, quick: Served, width: int, height: int) -> None:
    long = f"{MARKDOWN}\n\n{'Donaudampfschifffahrtsgesellschaft' * 20}\n\n```\n{'x' * 2000}\n```\n"
    new = imported(quick.url, "Ida", [("user", "W" * 500), ("assistant", long)], title="W" * 200)
    page = web.open(f"{quick.url}/#/chats/{new}", name="Ida", viewport={"width": width, "height": height})
    conversation(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".frame").evaluate("frame => frame.scrollWidth - frame.clientWidth") == 0
    for name in ("Settings", "Files", "Server"):
        panel(name)(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.get_by_role("button", name=f"Close {name.lower()}").click()
    measure = answers(page).locator(".prose").bounding_box()
    assert measure is not None
    assert measure["width"] <= 46 * 16, "lines too long to read"


def test_text_of_either_direction(web: Web, quick: Served) -> None:
    new = imported(quick.url, "Jan", [("user", ARABIC), ("assistant", ARABIC)], title=ARABIC)
    page = web.open(f"{quick.url}/#/chats/{new}", name="Jan")
    for text in (page.locator(".bubble"), page.locator(".prose")):
        assert text.evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_less_motion_for_those_who_ask(web: Web, quick: Served) -> None:
    page = web.open(quick.url, name="Kim", reduced_motion="reduce")
    send(page, "Tell me.")
    expect(answers(page).last).to_contain_text("chafe")
    durations = page.evaluate("document.getAnimations().map(one => one.effect.getComputedTiming().activeDuration)")
    assert all(duration <= 10 for duration in durations)
    page.keyboard.press("Escape")


def test_nothing_jumps_while_it_streams(web: Web, quick: Served) -> None:
    page = web.open(quick.url, name="Lea")
    send(page, "Tell me.")
    expect(answers(page).last).to_contain_text("chafe")
    page.evaluate(
        """() => {
            window.jumps = [];
            new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) window.jumps.push(entry.value);
            }).observe({ type: "layout-shift", buffered: false });
            const log = document.querySelector('[role=log]');
            window.shrunk = 0;
            let height = log.offsetHeight;
            const look = () => {
                if (log.offsetHeight < height - 2) window.shrunk += 1;
                height = log.offsetHeight;
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    page.wait_for_timeout(2000)
    page.keyboard.press("Escape")
    finished(page)
    assert page.evaluate("window.shrunk") == 0
    assert sum(page.evaluate("window.jumps")) < 0.1

    # Who scrolled up to read stays there while the answer grows.
    send(page, "On.")
    expect(answers(page)).to_have_count(2)
    page.wait_for_timeout(700)
    page.locator(".frame").hover()
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(200)
    before = page.locator(".frame").evaluate("frame => frame.scrollTop")
    page.wait_for_timeout(600)
    assert page.locator(".frame").evaluate("frame => frame.scrollTop") == before
    page.get_by_role("button", name="To the latest message").click()
    page.keyboard.press("Escape")
