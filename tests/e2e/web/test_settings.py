"""What is set for a conversation: kept, sent, and told what it does."""

from __future__ import annotations

import httpx
from playwright.sync_api import expect

from tests.e2e.web.conftest import Web, new_chat
from tests.served import Served, until


def test_settings_are_kept_with_the_conversation(web: Web, quick: Served) -> None:
    new = new_chat(quick.url, "Ada")
    page = web.open(f"{quick.url}/#/chats/{new}")
    page.get_by_role("button", name="Settings", exact=True).click()
    panel = page.get_by_role("complementary", name="Settings")
    panel.get_by_label("System prompt").fill("Answer in verse.")
    panel.get_by_label("Temperature", exact=True).fill("0,3")
    panel.get_by_label("Seed").fill("42")
    panel.get_by_label("Longest answer").fill("12")
    panel.get_by_label("Longest answer").press("Tab")
    slider = panel.get_by_role("slider", name="Top p")
    slider.focus()
    slider.press("ArrowLeft")
    panel.get_by_text("More", exact=True).click()
    panel.get_by_label("Stop at").fill("END\nFIN")
    panel.get_by_label("Stop at").press("Tab")

    def kept() -> bool:
        with httpx.Client(base_url=quick.url, headers={"X-Fairlead-User": "Ada"}, trust_env=False) as http:
            told = http.get(f"/chats/{new}").json()
        wanted = {"temperature": 0.3, "seed": 42, "max_tokens": 12, "top_p": 0.85, "stop": ["END", "FIN"]}
        return bool(told["system"] == "Answer in verse." and told["parameters"] == wanted)

    until(kept, within_s=5)
    page.reload()
    page.get_by_role("button", name="Settings", exact=True).click()
    expect(panel.get_by_label("Seed")).to_have_value("42")
    expect(panel.get_by_role("slider", name="Temperature")).to_have_value("0.3")


def test_the_longest_answer_is_held_to(web: Web, quick: Served) -> None:
    new = new_chat(quick.url, "Ada")
    page = web.open(f"{quick.url}/#/chats/{new}")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.press("Control+,")
    panel = page.get_by_role("complementary", name="Settings")
    panel.get_by_label("Longest answer").fill("7")
    panel.get_by_label("Longest answer").press("Enter")
    page.get_by_label("Message", exact=True).fill("Short, please.")
    page.keyboard.press("Enter")
    figures = page.get_by_role("article", name="Answer").get_by_role("list", name="Figures")
    expect(figures).to_contain_text("7 tokens")
    expect(figures).to_contain_text("reached its length limit")


def test_presets_reset_and_what_each_setting_does(web: Web, quick: Served) -> None:
    page = web.open(quick.url)
    page.get_by_role("button", name="Settings", exact=True).click()
    panel = page.get_by_role("complementary", name="Settings")
    temperature = panel.get_by_label("Temperature", exact=True)
    expect(temperature).to_have_accessible_description(
        "How freely words are chosen. 0 always takes the likeliest one; above 1 answers get adventurous."
    )
    panel.get_by_role("button", name="Exact").click()
    expect(temperature).to_have_value("0")
    panel.get_by_label("System prompt").fill("Be brief.")
    panel.get_by_label("Name of a preset").fill("Mine")
    panel.get_by_role("button", name="Keep").click()
    panel.get_by_role("button", name="Reset all").click()
    expect(temperature).to_have_value("")
    expect(panel.get_by_label("System prompt")).to_have_value("")
    panel.get_by_role("button", name="Mine", exact=True).click()
    expect(temperature).to_have_value("0")
    expect(panel.get_by_label("System prompt")).to_have_value("Be brief.")
    page.reload()
    page.get_by_role("button", name="Settings", exact=True).click()
    panel.get_by_role("button", name="Forget Mine").click()
    expect(panel.get_by_role("button", name="Mine", exact=True)).to_have_count(0)
