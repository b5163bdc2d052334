"""A real Chromium before real servers. Whatever a test does, the page asks nobody but its server and logs no error."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from fairlead.api.page import BUILT
from fairlead.config import Settings
from tests.fakes import Options
from tests.served import BEHAVIOUR, TOKENIZER, Served, serving, settings_with_models, tokens

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKDOWN = """Ropes chafe where they **rub against an edge**.

1. Lead the line through a *fairlead*.
2. Keep the angle small: $e^{\\mu\\theta}$.

| Material | Stretch |
| --- | ---: |
| Nylon | 30 % |

```python
def haul(line: str) -> str:
    return line * 2
```

The end of it. """
HOSTILE = (
    "<script>fetch('https://canary.example/s')</script> <img src=https://canary.example/i onerror=alert(1)> "
    "![x](https://canary.example/m.png) [go](https://canary.example/l) [js](javascript:alert(1)) "
    "<link rel=preload href=https://canary.example/p> <style>@import 'https://canary.example/c'</style> "
)
MODELS = {
    "ropes": Options(vocab_size=TOKENIZER.vocab_size, reply=tokens(MARKDOWN) * 40, step_s=0.004),
    "hostile": Options(vocab_size=TOKENIZER.vocab_size, reply=tokens(HOSTILE)),
    "sluggish": Options(vocab_size=TOKENIZER.vocab_size, load_s=20),
}

expect.set_options(timeout=20_000)


@dataclass
class Seen:
    """What a browser did during a test."""

    foreign: list[str] = field(default_factory=list)
    """Requests to anybody but the server."""
    errors: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of errors that a test provokes."""

    def watch(self, context: BrowserContext, url: str) -> None:
        """Note what the pages of a context do."""
        origin = urlsplit(url).netloc

        def on_request(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != origin:
                self.foreign.append(request.url)

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.errors.append(f"{message.text} {message.location.get('url', '')}")

        context.on("request", on_request)
        context.on("console", on_console)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def unexpected(self) -> list[str]:
        """Errors that no test has announced."""
        return [text for text in self.errors if not any(part in text for part in self.expected)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. It ends with the module: while it is there, no other event loop may run in this thread."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no Chromium here: on Debian, apt-get install chromium")
    if not (BUILT / "index.html").is_file():
        pytest.skip("the web page was not built: `make build` does it")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def seen() -> Iterator[Seen]:
    """What the browser did; a test fails that lets it speak to others or log errors."""
    noted = Seen()
    yield noted
    assert noted.foreign == []
    assert noted.unexpected() == []


@dataclass(frozen=True)
class Web:
    """Opens pages in windows of their own."""

    browser: Browser
    seen: Seen
    contexts: list[BrowserContext] = field(default_factory=list)

    def context(self, url: str, name: str | None = "Ada", **options: object) -> BrowserContext:
        """A browser profile of somebody who came in by a name before; None for a newcomer."""
        parts = urlsplit(url)
        known = [] if name is None else [{"name": "fairlead.identity", "value": json.dumps({"name": name})}]
        state = {"cookies": [], "origins": [{"origin": f"{parts.scheme}://{parts.netloc}", "localStorage": known}]}
        given = {"viewport": {"width": 1280, "height": 800}, "storage_state": state, **options}
        context = self.browser.new_context(**given)  # type: ignore[arg-type]  # Playwright's own
        self.contexts.append(context)
        self.seen.watch(context, url)
        return context

    def open(self, url: str, name: str | None = "Ada", **options: object) -> Page:
        """The page at a server."""
        page = self.context(url, name, **options).new_page()
        page.goto(url)
        return page


@pytest.fixture
def web(browser: Browser, seen: Seen) -> Iterator[Web]:
    """Opens pages, and closes them in the end."""
    opener = Web(browser, seen)
    yield opener
    for context in opener.contexts:
        context.close()


def quick_settings(home: Path) -> Settings:
    """Of a server with `MODELS`: long conversations, answers that end soon without a reader, and no guessing ahead,
    so that tokens come one by one.
    """
    return settings_with_models(home, context_length=4096, kv_tokens=65_536, grace_s=1.0, max_running=4, lookup=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with invented models, which answer what a test needs as fast as it needs it; "ropes" is active."""
    with pytest.MonkeyPatch.context() as patch:
        for name, behaviour in MODELS.items():
            patch.setitem(BEHAVIOUR, name, behaviour)
        settings = quick_settings(tmp_path_factory.mktemp("quick"))
        with serving(settings, "ropes") as server:
            yield server


def send(page: Page, text: str) -> None:
    """Write a message and send it by Enter."""
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def answers(page: Page) -> Locator:
    """The answers that are shown."""
    return page.get_by_role("article", name="Answer")


def finished(page: Page, count: int = 1) -> Locator:
    """The last answer, once there are so many and it is complete."""
    expect(answers(page)).to_have_count(count)
    last = answers(page).last
    expect(last.get_by_role("list", name="Figures")).to_be_visible()
    return last


def holds(page: Page, expression: str, within_s: float = 10.0) -> None:
    """Wait until an expression is true in the page, whose policy forbids Playwright's own way to."""
    deadline = time.monotonic() + within_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def new_chat(served_url: str, user: str, **fields: object) -> int:
    """A chat on the server."""
    with httpx.Client(base_url=served_url, headers={b"X-Fairlead-User": user.encode()}, trust_env=False) as http:
        return int(http.post("/chats", json=fields).raise_for_status().json()["chat_id"])


def imported(served_url: str, user: str, messages: list[tuple[str, str]], title: str = "Imported") -> int:
    """A chat on the server with these messages, questions and answers in turn."""
    at = "2026-11-20T08:00:00Z"
    told = [
        {
            "message_id": number,
            "parent": number - 1 or None,
            "role": role,
            "content": content,
            "created_at": at,
            **({"finish_reason": "stop", "model": "ropes"} if role == "assistant" else {}),
        }
        for number, (role, content) in enumerate(messages, 1)
    ]
    body = {
        "format": "fairlead-chat",
        "version": 1,
        "title": title,
        "leaf": len(told),
        "created_at": at,
        "updated_at": at,
    }
    with httpx.Client(
        base_url=served_url, headers={b"X-Fairlead-User": user.encode()}, trust_env=False, timeout=30
    ) as http:
        answer = http.post("/chats/import", json={**body, "messages": told})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["chat_id"])


Axe = Callable[[Page], list[str]]


@pytest.fixture(scope="session")
def axe() -> Axe:
    """What axe finds against WCAG 2.2 AA on a page, each as a line."""
    source = Path(__file__).parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        pytest.skip("axe-core is not installed: `make build` does it")
    script = source.read_text()

    def found(page: Page) -> list[str]:
        page.evaluate(script)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        results = page.evaluate("tags => axe.run(document, { runOnly: tags })", tags)
        return [
            f"{item['id']}: {node['target']} {node['failureSummary']}"
            for item in results["violations"]
            for node in item["nodes"]
        ]

    return found
