"""A model that needs no weights: its tokens are a hash of the sequence so far.

`FakeRunner` keeps the tokens in its pages as a real model keeps keys and values, and reads them back from
there to draw the next: pages that are dealt twice, lost, or given in the wrong order give other tokens.
`expected_answer` says what a request must be answered, whoever is served beside it.

In a worker of its own: `await EngineClient.start(load, runner=FAKE_RUNNER)`, with this repository's root on
PYTHONPATH. There `Options` come from the environment variable FAKE_MODEL, as JSON.
"""

from __future__ import annotations

import math
import os
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from fairlead.engine.messages import Load, Loaded, Sampling
from fairlead.engine.runner import Chunk, Result, Sampled, Scores
from fairlead.errors import DoesNotFit

FAKE_RUNNER = "tests.fakes:load"
OPTIONS_VARIABLE = "FAKE_MODEL"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How the fake behaves."""

    vocab_size: int = 1000
    first_token: int = 0
    """Drawn ids are from here up to `vocab_size`."""
    reply: list[int] | None = None
    """Answer every prompt with these, then a stop token where the request has one, then these again."""
    page_size: int = 16
    load_s: float = 0.0
    load_fails: str | None = None
    """"does not fit" raises DoesNotFit, "crash" an error of Python's, "kill" ends the process."""
    step_s: float = 0.0
    """Sleep in each step."""
    fails_on: int | None = None
    """A step that computes this token raises."""
    dies_on: int | None = None
    """A step that computes this token kills the process."""

    @classmethod
    def from_environment(cls) -> Options:
        return msgspec.json.decode(os.environ.get(OPTIONS_VARIABLE, "{}"), type=cls)

    def to_environment(self) -> str:
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True)
class Sampler:
    """What `open` was told of a request."""

    sampling: Sampling
    prompt_length: int
    min_tokens: int
    stop_tokens: tuple[int, ...]


def draw(options: Options, sampler: Sampler, sequence: Sequence[int]) -> int:
    """The token after `sequence`: of a fixed reply, or of a hash."""
    answered = len(sequence) - sampler.prompt_length
    if options.reply is not None:
        if answered == len(options.reply) and sampler.stop_tokens:
            return sampler.stop_tokens[0]
        return options.reply[answered % len(options.reply)]
    seed = sampler.sampling.seed if sampler.sampling.temperature > 0 else 0
    value = zlib.crc32(",".join(map(str, (seed, *sequence))).encode())
    count = options.vocab_size - options.first_token
    token = options.first_token + value % count
    while answered < sampler.min_tokens and token in sampler.stop_tokens:
        token = options.first_token + (token - options.first_token + 1) % count
    return token


def expected_answer(
    prompt: Sequence[int],
    count: int,
    *,
    sampling: Sampling | None = None,
    stop_tokens: Sequence[int] = (),
    min_tokens: int = 0,
    options: Options | None = None,
) -> list[int]:
    """The first `count` tokens that the fake answers to a prompt; fewer where it stops."""
    sampler = Sampler(sampling or Sampling(), len(prompt), min_tokens, tuple(stop_tokens))
    sequence = list(prompt)
    while len(sequence) < len(prompt) + count:
        token = draw(options or Options(), sampler, sequence)
        if token in stop_tokens:
            break
        sequence.append(token)
    return sequence[len(prompt) :]


def score(sequence: Sequence[int], token: int) -> float:
    """An invented log-probability of a token after `sequence`: of a hash."""
    return -0.01 * (1 + zlib.crc32(",".join(map(str, (*sequence, token))).encode()) % 1000)


def expected_score(prefix: Sequence[int], continuation: Sequence[int]) -> float:
    """What the fake scores a continuation."""
    return sum(score([*prefix, *continuation[:place]], token) for place, token in enumerate(continuation))


class FakeRunner:
    """A `Runner` that checks what it is given and can be slow, fail and die."""

    def __init__(self, page_count: int = 64, max_batch_tokens: int = 64, options: Options | None = None) -> None:
        self.options = options or Options()
        self.page_size = self.options.page_size
        self.page_count = page_count
        self.max_batch_tokens = max_batch_tokens
        self.vocab_size = self.options.vocab_size
        self.samplers: dict[int, Sampler] = {}
        self._pages: list[list[int | None]] = [[None] * self.page_size for _ in range(page_count)]

    def open(
        self,
        request_id: int,
        sampling: Sampling,
        prompt: Sequence[int],
        min_tokens: int,
        stop_tokens: Sequence[int],
    ) -> None:
        assert request_id not in self.samplers, "opened twice"
        self.samplers[request_id] = Sampler(sampling, len(prompt), min_tokens, tuple(stop_tokens))

    def close(self, request_id: int) -> None:
        del self.samplers[request_id]

    def copy_page(self, source: int, target: int) -> None:
        assert source != target
        self._pages[target] = list(self._pages[source])

    def forward(self, chunks: Sequence[Chunk]) -> list[Result]:
        self._check(chunks)
        if self.options.step_s:
            time.sleep(self.options.step_s)
        if any(self.options.dies_on in chunk.tokens for chunk in chunks):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(self.options.fails_on in chunk.tokens for chunk in chunks):
            raise ValueError("the model does not like this token")
        # All are written before any is read, as within a layer: chunks that share a page disturb each other.
        for chunk in chunks:
            for position, token in enumerate(chunk.tokens, chunk.start):
                self._pages[chunk.pages[position // self.page_size]][position % self.page_size] = token
        results: list[Result] = []
        for chunk in chunks:
            if chunk.scores:
                results.append(self._score(chunk))
            elif chunk.samples:
                results += self._sample(chunk)
        return results

    def _check(self, chunks: Sequence[Chunk]) -> None:
        assert 0 < sum(len(chunk.tokens) for chunk in chunks) <= self.max_batch_tokens
        assert len({(chunk.request_id, chunk.branch) for chunk in chunks}) == len(chunks), "two chunks of one request"
        for chunk in chunks:
            assert chunk.request_id in self.samplers, "not opened"
            assert chunk.tokens
            assert 0 <= chunk.drafts < len(chunk.tokens), "nothing but drafts"
            assert chunk.samples or not chunk.drafts, "drafts that nothing is drawn for"
            assert not (chunk.samples and chunk.scores), "drawn and scored"
            assert len(chunk.scores) <= len(chunk.tokens), "scores of tokens that are not there"
            assert len(chunk.pages) * self.page_size >= chunk.start + len(chunk.tokens), "too few pages"

    def _sample(self, chunk: Chunk) -> list[Sampled]:
        """What is drawn after the last token that is known, and after each draft that the draw before was equal to."""
        sampler = self.samplers[chunk.request_id]
        sequence = self._read(chunk)
        known = len(sequence) - chunk.drafts
        drawn = [draw(self.options, sampler, sequence[:known])]
        while known < len(sequence) and drawn[-1] == sequence[known]:
            known += 1
            drawn.append(draw(self.options, sampler, sequence[:known]))
        return [self._report(chunk.request_id, token) for token in drawn]

    def _score(self, chunk: Chunk) -> Scores:
        sequence = self._read(chunk)
        begin = len(sequence) - len(chunk.scores) + 1
        found = [[score(sequence[: begin + row], token) for token in ids] for row, ids in enumerate(chunk.scores)]
        return Scores(chunk.request_id, found)

    def _read(self, chunk: Chunk) -> list[int]:
        """The sequence up to the chunk's end, from the pages."""
        sequence = []
        for position in range(chunk.start + len(chunk.tokens)):
            token = self._pages[chunk.pages[position // self.page_size]][position % self.page_size]
            assert token is not None, "never computed"
            sequence.append(token)
        return sequence

    def _report(self, request_id: int, token: int) -> Sampled:
        """A drawn token, with invented log-probabilities where they were asked for."""
        count = self.samplers[request_id].sampling.logprobs
        if count is None:
            return Sampled(request_id, token)
        top = [((token + rank) % self.vocab_size, math.log(0.5 / 2**rank)) for rank in range(count)]
        return Sampled(request_id, token, math.log(0.5), top)


def load(load: Load, progress: Callable[[int, int], None]) -> tuple[FakeRunner, Loaded]:
    """What a worker calls to load the fake."""
    options = Options.from_environment()
    begun = time.monotonic()
    for done in range(10):
        progress(done, 10)
        time.sleep(options.load_s / 10)
    match options.load_fails:
        case "does not fit":
            details = {"required_bytes": 2000, "available_bytes": 1000}
            raise DoesNotFit("The model needs 2 kB; 1 kB is free.", details=details)
        case "crash":
            raise ZeroDivisionError("/secret/path/of/the/server")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    progress(10, 10)
    runner = FakeRunner(-(-load.kv_tokens // options.page_size), load.max_batch_tokens, options)
    loaded = Loaded(
        instruction_set="fake",
        threads=1,
        weight_bytes=0,
        kv_bytes=0,
        work_bytes=0,
        load_s=time.monotonic() - begun,
    )
    return runner, loaded
