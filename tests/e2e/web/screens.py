"""Makes the pictures of the page in `docs/screens`: `python -m tests.e2e.web.screens`."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.conftest import start, stop
from tests.e2e.web.conftest import ARGUMENTS, MARKDOWN, MODELS, Seen, Web, answers, imported, quick_settings, send
from tests.served import BEHAVIOUR, serving

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "screens"
STARTER_FILE = ROOT / "build" / "home" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDER = ROOT / "build" / "home" / "models" / "all-MiniLM-L6-v2"
DESK, PHONE = (1280, 800), (360, 740)
TITLES = ("Knots that hold", "A letter to the harbour master", "Tides of the week", "Names for a boat", "Rust on steel")


def conversation(page: Page) -> None:
    page.get_by_role("link", name="Why ropes chafe").click()
    expect(answers(page).locator(".katex").first).to_be_visible()
    expect(answers(page).locator(".hljs-keyword").first).to_be_visible()


def top(page: Page) -> None:
    conversation(page)
    page.locator(".frame").evaluate("frame => frame.scrollTop = 0")


def streaming(page: Page) -> None:
    send(page, "How do I lead a line around a corner?")
    expect(answers(page).locator("td").first).to_be_visible()


def models(page: Page) -> None:
    page.keyboard.press("Control+m")
    expect(page.get_by_role("dialog").get_by_text(re.compile("can be had")).first).to_be_visible()


def settings(page: Page) -> None:
    conversation(page)
    page.get_by_role("button", name="Settings", exact=True).click()


def server(page: Page) -> None:
    page.get_by_role("button", name="Server: well").first.click()
    expect(page.get_by_role("complementary", name="Server").get_by_role("region").first).to_be_visible()


def listed(page: Page) -> None:
    page.get_by_role("button", name="Conversations").click()


def on_phone(page: Page) -> None:
    listed(page)
    top(page)


def nothing(page: Page) -> None:
    page.wait_for_timeout(300)


def summarized(page: Page) -> None:
    page.keyboard.press("Alt+Shift+S")
    page.get_by_label("Text").fill(STORY)
    page.get_by_label("Words at most").fill("60")
    page.get_by_role("button", name="Summarise").click()
    expect(page.get_by_role("list", name="Figures")).to_be_visible()


def answered(page: Page) -> None:
    page.keyboard.press("Alt+Shift+Q")
    page.get_by_label("Question").fill("How often are lines looked at?")
    page.get_by_label("Text", exact=True).fill(STORY)
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("list", name="Sources")).to_be_visible()


def searched(page: Page) -> None:
    page.goto(f"{page.url.split('#')[0]}#/search/topics")
    page.get_by_label("What the rows are to be about").fill("how ships find their way at night")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("region", name="Found rows").get_by_role("listitem").first).to_be_visible()


def classified(page: Page) -> None:
    page.keyboard.press("Alt+Shift+C")
    page.get_by_label("Texts").fill(
        "The wind rose at noon and it rained all night.\n"
        "Three barges passed, and a tug with a dredger.\n"
        "The bow line has chafed through half its yarns."
    )
    page.get_by_label("Labels").fill(
        "weather | rain, wind, storms\ntraffic | ships that come and go\ngear | ropes, chains and what is worn of them"
    )
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.get_by_role("region", name="Classified texts").get_by_role("row")).to_have_count(4)


STORY = "\n\n".join(
    (
        "A rope wears where it rubs against an edge. Sailors call this chafe: it is the commonest end of a line.",
        "A fairlead takes the line around the edge: a ring or a pair of rollers, smooth and well fastened, through "
        "which it runs freely. The angle should be small, since friction grows with the angle, and so does heat.",
        "Where the line must stay for long, as at a mooring, it is given a sheath of leather or hose. The sheath sits "
        "where the line passes the fairlead and is sewn to it, so that it stays when the tide lifts the ship.",
        "Lines are looked at every week. One that has lost a tenth of its yarns is turned end for end; one that has "
        "lost a quarter is cut up for fenders. Nylon stretches by a third before it parts: keep out of its way.",
    )
)
REAL = (
    "models-light",
    "server-light",
    "summarize-light",
    "answer-dark",
    "search-light",
    "search-phone-dark",
    "classify-dark",
)
"""Those of a server with the starter model and the catalogue; the others show invented answers."""
SCREENS: dict[str, tuple[str, tuple[int, int], Callable[[Page], None]]] = {
    "door-light": ("light", DESK, nothing),
    "new-light": ("light", DESK, nothing),
    "conversation-light": ("light", DESK, top),
    "conversation-dark": ("dark", DESK, top),
    "streaming-dark": ("dark", DESK, streaming),
    "models-light": ("light", DESK, models),
    "settings-dark": ("dark", DESK, settings),
    "server-light": ("light", DESK, server),
    "list-phone-light": ("light", PHONE, listed),
    "summarize-light": ("light", DESK, summarized),
    "answer-dark": ("dark", DESK, answered),
    "search-light": ("light", DESK, searched),
    "classify-dark": ("dark", DESK, classified),
    "search-phone-dark": ("dark", PHONE, searched),
    "conversation-phone-dark": ("dark", PHONE, on_phone),
}


def main() -> None:
    """Write every picture anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    BEHAVIOUR.update(MODELS)
    told = quick_settings(Path(tempfile.mkdtemp()))
    home = Path(tempfile.mkdtemp())
    (home / "models").mkdir()
    (home / "models" / EMBEDDER.name).symlink_to(EMBEDDER)
    real = start(home, STARTER_FILE)
    try:
        with serving(told, "ropes") as served, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            draw(browser, served.url, real.url)
            browser.close()
    finally:
        stop(real)


def draw(browser: Browser, told_url: str, real_url: str) -> None:
    """Make the pictures before these two servers."""
    for title in TITLES:
        imported(told_url, "Ada", [("user", title), ("assistant", "Aye.")], title=title)
    imported(told_url, "Ada", [("user", "Why do ropes chafe?"), ("assistant", MARKDOWN)], title="Why ropes chafe")
    for name, (scheme, (width, height), show) in SCREENS.items():
        size = {"width": width, "height": height}
        web = Web(browser, Seen())
        url = real_url if name in REAL else told_url
        page = web.open(url, None if name.startswith("door") else "Ada", viewport=size, color_scheme=scheme)
        expect(page.get_by_role("textbox").first).to_be_visible()
        page.wait_for_timeout(300)
        show(page)
        page.wait_for_timeout(300)
        page.screenshot(path=FOLDER / f"{name}.png")
        web.contexts[0].close()


if __name__ == "__main__":
    main()
