"""What is kept between two runs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fairlead.tui.paths import completed, file_name
from fairlead.tui.saved import FILE, Look, Saved, SignIn


def test_it_is_found_again_and_is_the_owners_alone(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "home")
    assert saved.sign_in("http://a") is None
    saved.keep_sign_in("http://a", SignIn(key="secret"))
    saved.keep_look("anna", Look(person="red"))
    again = Saved(tmp_path / "home")
    assert again.sign_in("http://a") == SignIn(key="secret")
    assert again.sign_in("http://b") is None
    assert again.look("anna").person == "red"
    assert again.look("bert") == Look()
    assert [path.name for path in (tmp_path / "home").iterdir()] == [FILE]
    assert stat.S_IMODE((tmp_path / "home" / FILE).stat().st_mode) == 0o600


def test_programs_that_share_the_file_keep_each_others_part(tmp_path: Path) -> None:
    one, other = Saved(tmp_path), Saved(tmp_path)
    one.keep_draft("http://a", "anna", None, "begun")
    other.keep_draft("http://a", "anna", 3, "more")
    other.keep_draft("http://a", "bert", None, "his")
    one.keep_look("anna", Look(person="red"))
    one.keep_draft("http://a", "bert", None, "")
    again = Saved(tmp_path)
    assert [again.draft("http://a", "anna", number) for number in (None, 3, 4)] == ["begun", "more", ""]
    assert (again.draft("http://b", "anna", None), again.look("anna").person) == ("", "red")
    assert again.draft("http://a", "bert", None) == ""


@pytest.mark.parametrize("content", [b"", b"{", b'{"looks": 3}', b"\xff"])
def test_a_damaged_file_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert Saved(tmp_path).sign_in("http://a") is None


def test_paths_are_completed_as_far_as_they_are_certain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("report-1.txt", "report-2.txt", ".hidden"):
        (tmp_path / name).touch()
    assert completed(f"{tmp_path}/f") == f"{tmp_path}/folder/"
    assert completed(f"{tmp_path}/r") == f"{tmp_path}/report-"
    assert completed(f"{tmp_path}/.h") == f"{tmp_path}/.hidden"
    assert completed(f"{tmp_path}/nothing") == f"{tmp_path}/nothing"
    assert completed("/no/such/folder/x") == "/no/such/folder/x"
    monkeypatch.chdir(tmp_path)
    assert completed("fo") == "folder/"


def test_exports_have_names_that_are_only_names() -> None:
    assert file_name("../../etc/passwd: a Story!", 7) == "7-etc-passwd-a-story.md"
    assert file_name("\x1b[2J", 8) == "8-2j.md"
    assert file_name("…", 9) == "9-chat.md"
