"""Processors given by affinity and by the quotas of control groups, in a made-up tree of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.kernels.processors import given_processors


class Groups:
    """A tree of control groups, and the list of those that hold the process."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.root.mkdir()
        self.membership = folder / "membership"

    def hold(self, *lines: str) -> None:
        self.membership.write_text("".join(f"{line}\n" for line in lines))

    def say(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def given(self, affinity: int = 16) -> int:
        return given_processors(self.root, self.membership, affinity)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_without_groups_affinity_decides(groups: Groups) -> None:
    assert groups.given(6) == 6


@pytest.mark.parametrize(
    ("limit", "given"),
    [("max 100000", 16), ("200000 100000", 2), ("250000 100000", 3), ("5000 100000", 1), ("9900000 100000", 16)],
)
def test_a_quota_is_rounded_up(groups: Groups, limit: str, given: int) -> None:
    groups.hold("0::/")
    groups.say("cpu.max", limit)
    assert groups.given() == given


def test_the_tightest_of_nested_groups_counts(groups: Groups) -> None:
    groups.hold("0::/outer/inner")
    groups.say("outer/cpu.max", "300000 100000")
    groups.say("outer/inner/cpu.max", "max 100000")
    groups.say("other/cpu.max", "100000 100000")
    assert groups.given() == 3


@pytest.mark.parametrize(("quota", "given"), [("-1", 16), ("150000", 2), ("400000", 4)])
def test_the_old_interface(groups: Groups, quota: str, given: int) -> None:
    groups.hold("4:memory:/", "3:cpu,cpuacct:/box")
    groups.say("cpu/box/cpu.cfs_quota_us", quota)
    groups.say("cpu/box/cpu.cfs_period_us", "100000")
    assert groups.given() == given


@pytest.mark.parametrize("text", ["", "many few", "100000", "100000 0", "-5 100000"])
def test_what_makes_no_sense_limits_nothing(groups: Groups, text: str) -> None:
    groups.hold("0::/")
    groups.say("cpu.max", text)
    assert groups.given() == 16


def test_it_is_at_least_one_and_at_most_what_may_run_here() -> None:
    assert given_processors() >= 1
    assert given_processors(affinity=1) == 1
