"""What the engines count, for Prometheus: read off the newest `Stats` of each when it is asked for.

All of it is since the model was loaded, so a load sets it back to 0, which Prometheus knows how to read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from fairlead.engine.messages import STEP_BUCKETS_S, Stats

Engines = Callable[[], Iterable[tuple[str, Stats]]]
"""The name of each loaded model, with the state of its engine."""

_COUNTERS: Final[Mapping[str, tuple[str, Callable[[Stats], float]]]] = {
    "prefill_tokens": ("Prompt tokens computed.", lambda stats: stats.prefill_tokens),
    "cached_tokens": ("Prompt tokens found computed.", lambda stats: stats.cached_tokens),
    "decode_tokens": ("Tokens drawn.", lambda stats: stats.decode_tokens),
    "drafted_tokens": ("Tokens guessed ahead.", lambda stats: stats.drafted_tokens),
    "accepted_tokens": ("Guessed tokens that were drawn indeed.", lambda stats: stats.accepted_tokens),
    "preemptions": ("Running requests that had to give their pages back.", lambda stats: stats.preemptions),
    "steps_over_budget": ("Steps that took more than 1.2 times their budget.", lambda stats: stats.over_budget),
}


def decode_rate(stats: Stats) -> float | None:
    """Tokens drawn a second: none where nothing runs, of which the engine tells no more."""
    return stats.decode_rate if stats.running else 0.0


_GAUGES: Final[Mapping[str, tuple[str, Callable[[Stats], float | None]]]] = {
    "running": ("Requests that hold pages.", lambda stats: stats.running),
    "waiting": ("Requests that hold none.", lambda stats: stats.waiting),
    "decode_tokens_per_second": ("Tokens drawn, over the last seconds.", decode_rate),
    "prefill_tokens_per_second": ("What a step full of prompts reads.", lambda stats: stats.prefill_rate),
    "step_budget_seconds": ("What the last step might take.", lambda stats: stats.budget_s),
}


class EngineCollector(Collector):
    """Makes metrics of the engines' states."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        """Every metric, with a sample for each model."""
        engines = list(self._engines())
        for name, (told, count) in _COUNTERS.items():
            counter = CounterMetricFamily(f"fairlead_engine_{name}", told, labels=("model",))
            for model, stats in engines:
                counter.add_metric((model,), count(stats))
            yield counter
        for name, (told, value) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"fairlead_engine_{name}", told, labels=("model",))
            for model, stats in engines:
                if (now := value(stats)) is not None:
                    gauge.add_metric((model,), now)
            yield gauge
        yield _pages(engines)
        yield _step_times(engines)


def held_pages(stats: Stats) -> int:
    """Pages that requests use."""
    return stats.total_pages - stats.free_pages - stats.cached_pages


def _pages(engines: Iterable[tuple[str, Stats]]) -> Metric:
    pages = GaugeMetricFamily("fairlead_engine_pages", "Pages of the KV cache, by use.", labels=("model", "state"))
    for model, stats in engines:
        pages.add_metric((model, "held"), held_pages(stats))
        pages.add_metric((model, "cached"), stats.cached_pages)
        pages.add_metric((model, "free"), stats.free_pages)
    return pages


def _step_times(engines: Iterable[tuple[str, Stats]]) -> Metric:
    times = HistogramMetricFamily("fairlead_engine_step_seconds", "How long steps took.", labels=("model",))
    bounds = [*map(floatToGoString, STEP_BUCKETS_S), "+Inf"]
    for model, stats in engines:
        buckets = list(zip(bounds, itertools.accumulate(stats.step_counts), strict=True))
        times.add_metric((model,), buckets, stats.step_seconds)
    return times
