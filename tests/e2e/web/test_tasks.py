"""The pages of the language tasks, before a real server with the starter model."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server, until
from tests.e2e.web.conftest import Web

STORY = "".join(
    f"On day {day} the crew led line {day} through the fairlead at the bow, and it did not chafe. "
    for day in range(150)
)


def opened(web: Web, server: Server, task: str) -> Page:
    """A task's page, opened from the list of tasks."""
    page = web.open(server.url, name="Tess")
    page.get_by_role("navigation", name="Tasks").get_by_role("link", name=task).click()
    expect(page.get_by_role("heading", name=task, level=1)).to_be_visible()
    return page


def idle(server: Server) -> bool:
    """Whether the engine has nothing to do."""
    with server.http() as http:
        return all(model["running"] + model["waiting"] == 0 for model in http.get("/queue").json()["models"])


def test_a_file_is_summarised_and_the_summary_stays(web: Web, server: Server, tmp_path: Path) -> None:
    (tmp_path / "story.md").write_text(STORY[:900])
    page = opened(web, server, "Summarise")
    expect(page.get_by_label("Text")).to_be_focused()
    page.get_by_label("File", exact=True).set_input_files(tmp_path / "story.md")
    expect(page.get_by_role("list", name="Text")).to_contain_text("story.md 900 B")
    page.get_by_label("Words at most").fill("20")
    page.get_by_role("button", name="Summarise").click()
    summary = page.get_by_role("region", name="Summary")
    figures = summary.get_by_role("list", name="Figures")
    expect(figures).to_contain_text(re.compile(r"1 part in 1 round.*all of the text was read"))
    text = summary.locator(".prose").inner_text()
    assert 0 < len(text.split()) <= 20
    with page.expect_download() as download:
        summary.get_by_role("button", name="Save summary").click()
    assert download.value.suggested_filename == "story.md"
    assert Path(download.value.path()).read_text().split() == text.split()
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.go_back()
    expect(summary.locator(".prose")).to_have_text(text)


def test_a_summary_is_stopped_on_the_server_and_what_is_wrong_is_said(web: Web, server: Server) -> None:
    web.seen.expected = ("400", "404")
    page = opened(web, server, "Summarise")
    page.get_by_label("Text").fill(STORY)
    page.get_by_label("Words at most").fill("3")
    page.get_by_role("button", name="Summarise").click()
    expect(page.get_by_role("alert")).to_contain_text("10")
    expect(page.get_by_label("Words at most")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Words at most").fill("300")
    page.get_by_role("button", name="Summarise").click()
    expect(page.get_by_role("progressbar", name="Parts are summarised")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("note")).to_have_text("It was stopped before its end.")
    until(lambda: idle(server), within_s=5)


def test_a_question_is_answered_from_files_with_its_sources_or_is_not_known(
    web: Web, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "light.md").write_text("# The lighthouse\n\nThe lighthouse of Rorsund was built in 1887.\n")
    (tmp_path / "cats.txt").write_text("The harbour master keeps two cats in the red house.\n")
    page = opened(web, server, "Answer")
    expect(page.get_by_label("Question")).to_be_focused()
    page.keyboard.type("When was the lighthouse built?")
    page.get_by_label("Files", exact=True).set_input_files([tmp_path / "light.md", tmp_path / "cats.txt"])
    page.get_by_role("button", name="Answer", exact=True).click()
    answer = page.get_by_role("region", name="Answer")
    sources = answer.get_by_role("list", name="Sources").get_by_role("listitem")
    expect(sources.first).to_contain_text("light.md")
    expect(sources.first).to_contain_text("built in 1887")
    expect(answer.get_by_role("heading", name="When was the lighthouse built?")).to_be_visible()
    page.get_by_label("Question").fill("Which wine goes with duck?")
    page.get_by_label("Question").press("Enter")
    expect(answer.locator(".prose")).to_have_text(re.compile("^I do not know: "))
    expect(answer.get_by_role("note")).to_contain_text("The model was not asked.")

    web.seen.expected = ("400", "422")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and no more of it")
    page.get_by_label("Files", exact=True).set_input_files(tmp_path / "broken.pdf")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()


def test_a_table_becomes_a_collection_that_is_searched_and_deleted(web: Web, server: Server, tmp_path: Path) -> None:
    web.seen.expected = ("400", "422")
    rows = ["ship;note;year", *(f"Vega;Storm and rain on day {day};{1880 + day}" for day in range(9))]
    (tmp_path / "ship's log.csv").write_text("\n".join([*rows, "Ada;The cook made soup;1890", "Ada;Ropes chafed;1901"]))
    (tmp_path / "none.csv").write_bytes(b"PK\x03\x04 no table at all")
    page = opened(web, server, "Collections")
    expect(page.get_by_role("list", name="Collections").get_by_role("link", name="topics")).to_be_visible()
    page.get_by_label("Table", exact=True).set_input_files(tmp_path / "none.csv")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Table", exact=True).set_input_files(tmp_path / "ship's log.csv")
    form = page.get_by_role("form", name="New collection")
    expect(form).to_contain_text("11 rows in 3 columns, of which these are the first 10.")
    expect(form.get_by_label("Rows are found by")).to_have_value("note")
    expect(form).to_contain_text("was guessed")
    expect(form.get_by_label("Name")).to_have_value("ship-s-log")
    form.get_by_role("button", name="Make the collection").click()

    expect(page.get_by_label("What the rows are to be about")).to_be_focused()
    expect(page.get_by_role("region", name="ship-s-log")).to_contain_text("searched exactly")
    page.keyboard.type("something to eat")
    page.get_by_text("Filters").click()
    page.get_by_role("combobox", name="ship").fill("Ada")
    page.get_by_label("What the rows are to be about").press("Enter")
    found = page.get_by_role("region", name="Found rows").get_by_role("listitem")
    expect(found).to_have_count(2)
    expect(found.first).to_contain_text("The cook made soup")

    page.get_by_role("button", name="Delete", exact=True).click()
    mine = page.get_by_role("list", name="Collections").get_by_role("link", name="ship-s-log")
    expect(page.get_by_role("heading", name="Collections", level=1)).to_be_focused()
    expect(mine).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(mine).to_be_visible()


def test_texts_of_a_table_are_classified_and_saved(web: Web, server: Server, tmp_path: Path) -> None:
    web.seen.expected = ("400",)
    (tmp_path / "notes.csv").write_text(
        'id,note\n1,It rained all night and the wind rose.\n2,"The cook, again, made soup."\n'
    )
    page = opened(web, server, "Classify")
    page.get_by_label("File", exact=True).set_input_files(tmp_path / "notes.csv")
    expect(page.get_by_label("The texts stand in")).to_have_value("1")
    expect(page.get_by_text("2 texts")).to_be_visible()
    page.get_by_label("Labels").fill("weather | rain, wind, storms\nfood\nfood")
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("The label 'food' is there twice.")
    expect(page.get_by_label("Labels")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Labels").fill("weather | rain, wind, storms\nfood")
    page.get_by_role("button", name="Classify", exact=True).click()
    classified = page.get_by_role("region", name="Classified texts")
    expect(classified.get_by_role("row")).to_have_count(3)
    expect(classified.get_by_role("row").nth(2)).to_contain_text("The cook, again, made soup.")
    with page.expect_download() as download:
        classified.get_by_role("button", name="CSV").click()
    header, *rows = csv.reader(Path(download.value.path()).read_text().splitlines())
    assert header == ["text", "label", "weather", "food"]
    for _, label, *probabilities in rows:
        assert abs(sum(map(float, probabilities)) - 1) < 1e-3
        assert float(probabilities[header.index(label) - 2]) == max(map(float, probabilities))
