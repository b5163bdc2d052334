"""The engines' states as Prometheus reads them."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.engine.messages import STEP_BUCKETS_S, Stats
from fairlead.service.engine_metrics import decode_rate, held_pages
from fairlead.service.metrics import Metrics

STATS = Stats(
    running=2,
    waiting=1,
    free_pages=10,
    cached_pages=5,
    total_pages=32,
    steps=60,
    prefill_tokens=700,
    decode_tokens=90,
    cached_tokens=300,
    drafted_tokens=8,
    accepted_tokens=6,
    preemptions=3,
    prefill_rate=None,
    decode_rate=45.5,
    step_s=0.02,
    budget_s=0.05,
    step_seconds=1.5,
    step_counts=[0, 10, 0, 20, 0, 25, 0, 0, 0, 0, 0, 0, 5],
    over_budget=4,
    clients=[],
    queue=[],
)


def samples(stats: Stats) -> dict[tuple[str, ...], float]:
    """The value of each sample by its name and its labels but for the model's."""
    text = Metrics(lambda: [("m", stats)]).text().decode()
    return {
        (sample.name, *(value for name, value in sample.labels.items() if name != "model")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("model") == "m"
    }


def test_everything_that_an_engine_tells_is_there() -> None:
    told = samples(STATS)
    for name, value in {
        "running": 2,
        "waiting": 1,
        "decode_tokens_per_second": 45.5,
        "step_budget_seconds": 0.05,
        "prefill_tokens_total": 700,
        "cached_tokens_total": 300,
        "decode_tokens_total": 90,
        "drafted_tokens_total": 8,
        "accepted_tokens_total": 6,
        "preemptions_total": 3,
        "steps_over_budget_total": 4,
        "step_seconds_sum": 1.5,
        "step_seconds_count": 60,
    }.items():
        assert told[(f"fairlead_engine_{name}",)] == value, name
    pages = {state: told["fairlead_engine_pages", state] for state in ("held", "cached", "free")}
    assert pages == {"held": 17, "cached": 5, "free": 10}
    assert sum(pages.values()) == STATS.total_pages
    assert ("fairlead_engine_prefill_tokens_per_second",) not in told  # nobody knows it yet


def test_the_classes_of_step_times_add_up() -> None:
    told = samples(STATS)
    counts = [told["fairlead_engine_step_seconds_bucket", f"{bound}"] for bound in STEP_BUCKETS_S]
    assert counts == [0, 10, 10, 30, 30, 55, 55, 55, 55, 55, 55, 55]
    assert told["fairlead_engine_step_seconds_bucket", "+Inf"] == 60


def test_an_idle_engine_draws_nothing() -> None:
    idle = msgspec.structs.replace(STATS, running=0)
    assert decode_rate(STATS) == 45.5
    assert decode_rate(idle) == 0
    assert held_pages(STATS) == 17


def test_names_of_users_are_labels_that_cannot_break_the_text() -> None:
    metrics = Metrics()
    metrics.count_service('an"na\\', 3, 5)
    (family,) = [
        family
        for family in text_string_to_metric_families(metrics.text().decode())
        if family.name == "fairlead_user_tokens"
    ]
    counted = {
        (one.labels["user"], one.labels["kind"]): one.value for one in family.samples if one.name.endswith("total")
    }
    assert counted == {('an"na\\', "prompt"): 3, ('an"na\\', "completion"): 5}
    with pytest.raises(ValueError, match="label"):
        metrics.user_tokens.labels("anna")
