"""Files of a conversation: attached, read, used, and taken away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.web.conftest import Web, answers, new_chat, send
from tests.served import Served

NOTE = "# The bollard\n\nThe bollard at pier nine is painted yellow, and its number is 4711.\n"


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "bollard.md"
    path.write_text(NOTE)
    return path


def attach(page: Page, *paths: Path) -> None:
    page.get_by_label("Files to attach").set_input_files(paths)


def test_attached_read_used_and_removed(web: Web, quick: Served, note: Path) -> None:
    page = web.open(quick.url, name="Pia")
    attach(page, note)
    chips = page.get_by_role("list", name="Attached files")
    expect(chips).to_contain_text("bollard.md")
    expect(chips.get_by_role("status")).to_have_text(f"{len(NOTE)} B")
    send(page, "What colour is the bollard?")
    expect(chips).to_have_count(0)
    expect(answers(page).last).to_contain_text("chafe")
    page.get_by_role("button", name="Stop").click()
    expect(answers(page).last.get_by_role("region", name="What was used of the files")).to_be_visible()

    page.get_by_role("button", name="Files: 1").click()
    panel = page.get_by_role("complementary", name="Files")
    expect(panel).to_contain_text("50 MiB at most")
    expect(panel).to_contain_text(re.compile(rf"markdown · {len(NOTE)} B"))
    panel.get_by_role("button", name="Remove bollard.md").click()
    expect(panel).to_contain_text("No files yet.")
    page.reload()
    page.get_by_role("button", name="Files", exact=True).click()
    expect(panel).to_contain_text("No files yet.")


def test_one_that_cannot_be_read_says_why(web: Web, quick: Served, tmp_path: Path) -> None:
    web.seen.expected = ("422", "415", "400")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and no more of it")
    (tmp_path / "program.exe").write_bytes(b"MZ\x90\x00")
    new = new_chat(quick.url, "Pia")
    page = web.open(f"{quick.url}/#/chats/{new}", name="Pia")
    attach(page, tmp_path / "broken.pdf", tmp_path / "program.exe")
    chips = page.get_by_role("list", name="Attached files").get_by_role("listitem")
    for name in ("broken.pdf", "program.exe"):
        chip = chips.filter(has_text=name)
        expect(chip).to_have_class(re.compile("failed"))
        chip.get_by_role("button", name=f"Remove {name}").click()
    expect(chips).to_have_count(0)


def test_one_that_is_too_large_is_not_sent(web: Web, quick: Served, tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(51 << 20)
    page = web.open(quick.url, name="Pia")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    attach(page, tmp_path / "huge.txt")
    expect(page.get_by_role("list", name="Attached files")).to_contain_text("a file may have 50 MiB at most")
    assert "POST" not in sent


def test_dropped_and_pasted(web: Web, quick: Served) -> None:
    page = web.open(quick.url, name="Pia")
    give = """(kind) => {
        const data = new DataTransfer();
        data.items.add(new File(["Of ropes."], `${kind}.txt`, { type: "text/plain" }));
        const target = document.getElementById("composer");
        if (kind === "pasted") {
            target.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        } else {
            target.dispatchEvent(new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
            target.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }
    }"""
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    for kind in ("dropped", "pasted"):
        page.evaluate(give, kind)
        chip = page.get_by_role("list", name="Attached files").get_by_role("listitem").filter(has_text=f"{kind}.txt")
        expect(chip.get_by_role("status")).to_have_text("9 B")
