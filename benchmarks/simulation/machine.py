"""What a step costs on some machine with some model, and a runner that takes that long in virtual time.

The cost of a step is the sum of what it takes to push its rows through the layers (memory-bound for few, then in
proportion, with whatever thresholds the kernels have: so given at knots), to read the context of each chunk and attend
to it from each of its rows, and to compute the output head for the rows that sample. `benchmarks/steps.py` fits one to
the machine it runs on.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable, Sequence

import msgspec

from fairlead.engine.messages import Sampling
from fairlead.engine.runner import Chunk, Sampled

VOCABULARY = 49_152


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a step costs, in seconds."""

    name: str
    rows: list[tuple[int, float]]
    """Rows and what the layers take for them: increasing, from 1 row on; between them and beyond, straight lines."""
    head_s: float
    """The output head, where any row samples."""
    sampled_s: float
    """More for each row that samples: its logits and the drawing."""
    context_s: float
    """To read one token of a chunk's context."""
    pair_s: float
    """To attend from one row to one token of its context."""
    noise: float = 0.03
    """Steps take this share more or less: the standard deviation of the logarithm."""
    hiccup_rate: float = 0.002
    """The share of steps that something else on the machine holds up."""
    hiccup_s: float = 0.02
    """For how long it holds them up, on average (exponentially distributed)."""

    def __post_init__(self) -> None:
        counts = [count for count, _ in self.rows]
        if len(counts) < 2 or counts[0] != 1 or counts != sorted(set(counts)):
            raise ValueError("rows must be given for 1 and at least one larger number, in increasing order")

    def layers_s(self, rows: int) -> float:
        """What the layers take for so many rows."""
        upper = min(max(1, bisect.bisect_left(self.rows, (rows, 0.0))), len(self.rows) - 1)
        (few, low_s), (many, high_s) = self.rows[upper - 1], self.rows[upper]
        return low_s + (high_s - low_s) * (rows - few) / (many - few)

    def step_s(self, chunks: Sequence[Chunk]) -> float:
        """What a step of these chunks takes on average."""
        seconds = self.layers_s(sum(len(chunk.tokens) for chunk in chunks))
        sampled = sum(1 + chunk.drafts for chunk in chunks if chunk.samples)
        if sampled:
            seconds += self.head_s + self.sampled_s * sampled
        for chunk in chunks:
            count = len(chunk.tokens)
            seconds += self.context_s * (chunk.start + count)
            seconds += self.pair_s * count * (chunk.start + count / 2)
        return seconds


class Clock:
    """Virtual seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time that it is."""
        return self.now


Watch = Callable[[Sequence[Chunk], Sequence[Sampled], float], None]


class SimulatedRunner:
    """A `Runner` that computes nothing and moves a clock: each request's answer is known beforehand.

    Args:
        machine: what steps cost.
        clock: moved on by every step.
        page_count: pages of the KV cache, `page_size` tokens each.
        max_batch_tokens: most tokens of a step.
        seed: of the noise and the hiccups.
        watch: told of each step: what it computed, what it drew, and what it took in seconds.
    """

    vocab_size = VOCABULARY

    def __init__(
        self,
        machine: Machine,
        clock: Clock,
        *,
        page_count: int,
        page_size: int = 32,
        max_batch_tokens: int = 512,
        seed: int = 0,
        watch: Watch | None = None,
    ) -> None:
        self.machine = machine
        self.clock = clock
        self.page_count = page_count
        self.page_size = page_size
        self.max_batch_tokens = max_batch_tokens
        self.answers: dict[int, Sequence[int]] = {}
        """What will be drawn for each request; given before the request is."""
        self._prompt_lengths: dict[int, int] = {}
        self._draw = random.Random(seed)
        self._watch = watch

    def open(
        self,
        request_id: int,
        sampling: Sampling,  # noqa: ARG002 - as a Runner has it
        prompt: Sequence[int],
        min_tokens: int,  # noqa: ARG002
        stop_tokens: Sequence[int],  # noqa: ARG002
    ) -> None:
        """Note how long the prompt is: what comes behind it is the answer."""
        self._prompt_lengths[request_id] = len(prompt)

    def close(self, request_id: int) -> None:
        """Forget the request."""
        del self._prompt_lengths[request_id]

    def copy_page(self, source: int, target: int) -> None:
        """Pages hold nothing here."""

    def forward(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """Let the time pass, and draw what was to be drawn."""
        machine = self.machine
        seconds = machine.step_s(chunks) * math.exp(self._draw.gauss(0.0, machine.noise))
        if self._draw.random() < machine.hiccup_rate:
            seconds += self._draw.expovariate(1 / machine.hiccup_s)
        self.clock.now += seconds
        sampled = [draw for chunk in chunks if chunk.samples for draw in self._drawn(chunk)]
        if self._watch is not None:
            self._watch(chunks, sampled, seconds)
        return sampled

    def _drawn(self, chunk: Chunk) -> list[Sampled]:
        """The token behind the last one known, and one more behind each guess that was right."""
        answer = self.answers[chunk.request_id]
        position = chunk.start + len(chunk.tokens) - chunk.drafts - self._prompt_lengths[chunk.request_id]
        drawn = [Sampled(chunk.request_id, answer[position])]
        for guess in chunk.tokens[len(chunk.tokens) - chunk.drafts :]:
            if guess != drawn[-1].token:
                break
            position += 1
            drawn.append(Sampled(chunk.request_id, answer[position]))
        return drawn
