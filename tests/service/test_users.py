"""Users: their numbers, their labels, and the places of those who wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from fairlead.config import UserSettings
from fairlead.service import users as module
from fairlead.service.answer import Answer, Roster
from fairlead.service.users import OTHERS, User, Users


def test_a_user_is_one_by_name_and_by_number() -> None:
    users = Users({"anna": UserSettings(weight=2.0, max_waiting=3)}, max_waiting=64)
    anna, bob = users.find("anna"), users.find("bob")
    assert (anna.weight, anna.max_waiting) == (2.0, 3)
    assert (bob.weight, bob.max_waiting) == (1.0, 64)
    assert users.find("anna") is anna
    assert users.numbered(anna.number) is anna
    assert 0 < anna.number != bob.number > 0
    assert users.numbered(99) is None


def test_there_are_few_labels_whoever_comes() -> None:
    users = Users({"late": UserSettings()}, max_waiting=1)
    labels = [users.find(f"user {number}").label for number in range(1000)]
    assert labels[0] == "user 0"
    assert len(set(labels)) == module._MOST_LABELS + 1
    assert labels[-1] == OTHERS
    assert users.find("late").label == "late"
    assert users.find("user 0").label == "user 0"


def test_whoever_was_away_longest_is_forgotten_unless_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KNOWN", 3)
    users = Users({}, max_waiting=1)
    served, away, back = (users.find(name) for name in ("served", "away", "back"))
    served.waiting = 1
    assert users.find("back") is back
    new = users.find("new")
    assert users.numbered(away.number) is None
    assert users.find("served") is served
    again = users.find("away")
    assert again is not away
    assert again.number not in {served.number, away.number, back.number, new.number}  # what was theirs stays theirs


@dataclass(eq=False)
class Expected:
    """Stands for an answer that waits."""

    user: User
    expected_wait_s: float | None
    id: str = "a"
    began: bool = False


def test_places_are_free_when_those_before_are_expected_to_begin() -> None:
    users = Users({}, max_waiting=8)
    anna, bob = users.find("anna"), users.find("bob")
    roster = Roster()
    for user, wait_s in ((anna, 4.0), (anna, 1.0), (bob, 2.0), (bob, None)):
        roster.enter(cast(Answer, Expected(user, wait_s)))
    assert (roster.waiting, anna.waiting, bob.waiting) == (4, 2, 2)
    assert [roster.places_free_in_s(places) for places in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert [roster.places_free_in_s(places, anna) for places in (1, 2)] == [1.0, 4.0]
    roster.usual_wait_s = 3.0
    assert roster.places_free_in_s(2, bob) == 3.0  # of one nothing is known, so what is usual
    assert roster.places_free_in_s(4) == 4.0
    first = Expected(bob, 0.5)
    roster.enter(cast(Answer, first))
    first.began = True
    roster.began(cast(Answer, first), 3.0)
    assert roster.places_free_in_s(1) == 1.0
    assert (roster.waiting, roster.running, bob.running) == (4, 1, 1)
    roster.leave(cast(Answer, first))
    assert (roster.running, bob.running, bob.waiting) == (0, 0, 2)
