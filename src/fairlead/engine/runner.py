"""What the engine sees of the hardware.

A runner owns a model's weights, its KV cache pages and the samplers of the requests in flight; it knows
nothing of scheduling. `kernels/native_runner.py` is the one for the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fairlead.engine.messages import Sampling


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive tokens of one request, to be computed in one step.

    Attributes:
        request_id: whose they are; `open` was called for it.
        tokens: the ids at positions `start`, `start + 1`, …; at least one.
        start: tokens of this request that are in the KV cache already.
        pages: the request's pages in order of position; enough for `start + len(tokens)` tokens.
        samples: whether the token after the last of these is to be drawn.
        drafts: how many of the last tokens are guesses. Then a token is drawn after the last that is known, and after
            each guess that the draw before it was equal to; 0 where `samples` is False, and below `len(tokens)`.
    """

    request_id: int
    tokens: Sequence[int]
    start: int
    pages: Sequence[int]
    samples: bool
    drafts: int = 0


@dataclass(frozen=True, slots=True)
class Sampled:
    """A drawn token. `logprob` and `top` (id and natural log-probability, likeliest first) where asked for."""

    request_id: int
    token: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


class Runner(Protocol):
    """A loaded model on some hardware."""

    @property
    def page_size(self) -> int:
        """Tokens in a KV cache page."""

    @property
    def page_count(self) -> int:
        """Pages in the KV cache."""

    @property
    def max_batch_tokens(self) -> int:
        """Most tokens that one `forward` computes."""

    @property
    def vocab_size(self) -> int:
        """Token ids are below this."""

    def open(
        self,
        request_id: int,
        sampling: Sampling,
        prompt: Sequence[int],
        min_tokens: int,
        stop_tokens: Sequence[int],
    ) -> None:
        """Make a request's sampler; it stays until `close`, through preemption too."""

    def close(self, request_id: int) -> None:
        """Forget a request's sampler."""

    def forward(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """Compute the chunks' tokens, write their keys and values into their pages, and draw.

        Returns for each chunk with `samples`, in order, one `Sampled`; where it has drafts one more for each of them
        that was drawn indeed. What was computed for other drafts is in the pages and void.
        """
