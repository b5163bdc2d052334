"""What the server counts, for Prometheus. One `Metrics` for each server, so that two in a process do not mix.

Labels are the names of routes and models, and of users as far as `users.py` gives them labels; never anything that
was said. What the engines count themselves is in `engine_metrics.py`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fairlead.engine.messages import Usage
from fairlead.service.engine_metrics import EngineCollector, Engines

_TTFT_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2)
_ITL_BUCKETS = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.25, 0.5, 1.0, 2.0)


class Metrics:
    """The server's counters. Times are observed in seconds.

    Args:
        engines: says which engines there are, each time the text is made.
    """

    def __init__(self, engines: Engines = tuple) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "fairlead_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.running = Gauge(
            "fairlead_generations_running", "Answers that have their first token.", registry=self._registry
        )
        self.waiting = Gauge(
            "fairlead_generations_waiting",
            "Answers that wait for their first token.",
            registry=self._registry,
        )
        self.chat_answers = Gauge(
            "fairlead_chat_answers", "Answers that go on in chats, read or not.", registry=self._registry
        )
        self.finished = Counter("fairlead_generations", "Answers ended.", ("model", "reason"), registry=self._registry)
        self.tokens = Counter(
            "fairlead_tokens",
            "Tokens of prompts, of prompts found in the KV cache, and of answers.",
            ("model", "kind"),
            registry=self._registry,
        )
        self.first_token = Histogram(
            "fairlead_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            ("model",),
            buckets=_TTFT_BUCKETS,
            registry=self._registry,
        )
        self.token_gap = Histogram(
            "fairlead_inter_token_seconds",
            "Between two tokens of an answer.",
            ("model",),
            buckets=_ITL_BUCKETS,
            registry=self._registry,
        )

        self.user_tokens = Counter(
            "fairlead_user_tokens",
            "Tokens of users' prompts that were read, and of their answers.",
            ("user", "kind"),
            registry=self._registry,
        )
        self._registry.register(EngineCollector(engines))

    def count_service(self, user: str, prompt_tokens: int, answer_tokens: int) -> None:
        """Add what a user had, ended or left, by the user's label."""
        self.user_tokens.labels(user, "prompt").inc(prompt_tokens)
        self.user_tokens.labels(user, "completion").inc(answer_tokens)

    def count_tokens(self, model: str, usage: Usage) -> None:
        """Add the tokens of an answer that has ended."""
        self.tokens.labels(model, "prompt").inc(usage.prompt_tokens)
        self.tokens.labels(model, "cached").inc(usage.cached_tokens)
        self.tokens.labels(model, "completion").inc(usage.completion_tokens)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
