from __future__ import annotations

from fairlead.service.supervision import COMPUTING, PROVEN_S, RESTART_AFTER_S, Pulse, Restarts


def test_deaths_in_a_row_wait_longer_each_time_and_then_are_given_up() -> None:
    restarts = Restarts()
    waits = [restarts.wait_after_death(float(now)) for now in range(len(RESTART_AFTER_S) + 1)]
    assert waits == [*RESTART_AFTER_S, None]
    assert RESTART_AFTER_S[0] < 2, "the model is back after its load time plus 2 s"


def test_a_worker_that_lived_for_long_starts_anew() -> None:
    restarts = Restarts()
    for _ in range(3):
        restarts.wait_after_death(0.0)
    restarts.came_up(10.0)
    assert restarts.wait_after_death(10.0 + PROVEN_S) == RESTART_AFTER_S[0]
    restarts.came_up(100.0)
    assert restarts.wait_after_death(101.0) == RESTART_AFTER_S[1]


def test_no_work_is_no_stall() -> None:
    pulse = Pulse(0.0)
    pulse.note(100.0, busy=False, steps=5, cpu_s=1.0)
    assert pulse.stalled_s(100.0) == 0
    pulse.note(101.0, busy=True, steps=5, cpu_s=1.0)
    assert pulse.stalled_s(101.0) == 0.0 + 1.0  # since it had no work


def test_a_stopped_worker_stalls_from_its_last_sign() -> None:
    pulse = Pulse(0.0)
    for now in range(10):
        pulse.note(float(now), busy=True, steps=now, cpu_s=float(now))
    for now in range(10, 20):
        pulse.note(float(now), busy=True, steps=9, cpu_s=9.0)
    assert pulse.stalled_s(20.0) == 11.0


def test_a_long_step_is_given_time_but_not_for_ever() -> None:
    pulse = Pulse(0.0)
    pulse.note(0.0, busy=True, steps=1, cpu_s=0.0)
    for now in range(1, 101):
        pulse.note(float(now), busy=True, steps=1, cpu_s=float(now))
    assert pulse.stalled_s(100.0) == 100 / COMPUTING
