"""What the engine sees of the hardware.

A runner owns a model's weights, its KV cache pages and the samplers of the requests in flight; it knows
nothing of scheduling. `kernels/native_runner.py` is the one for the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        scores: for each of the last so many tokens, ids whose log-probability behind it is wanted; then nothing is
            drawn.
        branch: which of the request's continuations the tokens belong to, None for its own; a step may compute
            several of one request.
        copies: from which page to which all must be copied before the tokens are computed.
    """

    request_id: int
    tokens: Sequence[int]
    start: int
    pages: Sequence[int]
    samples: bool
    drafts: int = 0
    scores: Sequence[Sequence[int]] = ()
    branch: int | None = None
    copies: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A drawn token. `logprob` and `top` (id and natural log-probability, likeliest first) where asked for."""

    request_id: int
    token: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a chunk's `scores` asked for, in the same places: natural log-probabilities, before any filter."""

    request_id: int
    logprobs: list[list[float]]


Result = Sampled | Scores


def by_chunk(chunks: Sequence[Chunk], results: Sequence[Result]) -> Iterator[tuple[Chunk, Sequence[Result]]]:
    """Each chunk with what `Runner.forward` returned for it. ValueError where there is more than they asked for."""
    begin = 0
    for chunk in chunks:
        end = begin
        most = 1 if chunk.scores else chunk.samples + chunk.drafts
        kind = Scores if chunk.scores else Sampled
        while end < min(begin + most, len(results)) and results[end].request_id == chunk.request_id:
            if not isinstance(results[end], kind):
                break
            end += 1
        yield chunk, results[begin:end]
        begin = end
    if begin != len(results):
        raise ValueError("there are results that no chunk asked for")


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

    def copy_page(self, source: int, target: int) -> None:
        """Copy all that a page holds into another."""

    def forward(self, chunks: Sequence[Chunk]) -> Sequence[Result]:
        """Compute the chunks' tokens, write their keys and values into their pages, and draw or score.

        Returns for each chunk with `samples`, in order, one `Sampled`; where it has drafts one more for each of them
        that was drawn indeed. What was computed for other drafts is in the pages and void. For each with `scores` it
        is one `Scores`. What `copies` asks for has been done by `copy_page`.
        """
