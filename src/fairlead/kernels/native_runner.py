"""The runner for the CPU: a model file's weights packed, its plan lowered, its KV cache and samplers held."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.engine.messages import Sampling
from fairlead.engine.runner import Chunk, Result, Sampled, Scores
from fairlead.errors import ModelFileError
from fairlead.gguf.model_file import ModelFile
from fairlead.kernels import _native
from fairlead.kernels.lowering import lower
from fairlead.kernels.packing import FileWeights, ReportProgress
from fairlead.models import record

LIKELY_DRAWS = 64
"""Rows of logits that are kept room for from the start; more of them take theirs when they come."""


class NativeRunner:
    """A model on the CPU; implements `engine.runner.Runner`.

    The file may be closed once this is made: nothing of it stays mapped.
    """

    def __init__(
        self,
        file: ModelFile,
        *,
        threads: int,
        kv_tokens: int,
        kv_type: str = "f16",
        activations: str = "q16",
        max_batch_tokens: int = 512,
        progress: ReportProgress | None = None,
    ) -> None:
        plan = record(file)
        if plan.kv is None:
            raise ModelFileError(f"{file.file_name} is an encoder, from which nothing can be drawn")
        self.page_size = _native.PAGE_TOKENS
        self.page_count = -(-kv_tokens // self.page_size)
        self.max_batch_tokens = max_batch_tokens
        self.vocab_size = plan.output.width
        self._pool = _native.ThreadPool(threads)
        self._cache = _native.KvCache(
            layers=plan.kv.layers,
            heads=plan.kv.heads,
            head_dim=plan.kv.head_dim,
            pages=self.page_count,
            type=kv_type,
            pool=self._pool,
        )
        self._plan = _native.Plan(self._pool, self._cache, activations)
        self.activations = activations
        weights = FileWeights(file, self._pool, progress)
        self._logits, self._held = lower(plan, self._plan, weights)
        self.weights = weights.packed
        """By the rows of the file's tensors that they hold."""
        self._plan.reserve(max_batch_tokens, min(max_batch_tokens, LIKELY_DRAWS))
        self._samplers: dict[int, _native.Sampler] = {}
        self._reports: dict[int, bool] = {}

    @property
    def weight_bytes(self) -> int:
        """Of the packed weights."""
        return sum(weight.nbytes for weight in {id(w): w for w in self._held}.values())

    @property
    def kv_bytes(self) -> int:
        """Of the KV cache."""
        return self._cache.nbytes

    @property
    def work_bytes(self) -> int:
        """Of activations and scratch, as large as the largest step so far needed them."""
        return self._plan.nbytes

    def open(
        self,
        request_id: int,
        sampling: Sampling,
        prompt: Sequence[int],
        min_tokens: int,
        stop_tokens: Sequence[int],
    ) -> None:
        """Make a request's sampler."""
        self._samplers[request_id] = _native.Sampler(
            prompt,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            seed=sampling.seed,
            logprobs=-1 if sampling.logprobs is None else sampling.logprobs,
            min_tokens=min_tokens,
            stop_tokens=stop_tokens,
            logit_bias=list(sampling.logit_bias.items()),
        )
        self._reports[request_id] = sampling.logprobs is not None

    def close(self, request_id: int) -> None:
        """Forget a request's sampler."""
        self._samplers.pop(request_id, None)
        self._reports.pop(request_id, None)

    def copy_page(self, source: int, target: int) -> None:
        """Copy all that a page holds into another."""
        self._cache.copy_page(source, target)

    def forward(self, chunks: Sequence[Chunk]) -> list[Result]:
        """Compute the chunks and draw for those that sample, after each draft that proves right too; score others."""
        # Draws are made from the first rows of logits.
        ordered = sorted(chunks, key=lambda chunk: not chunk.samples)
        self._run(ordered, [chunk.drafts + 1 if chunk.samples else len(chunk.scores) for chunk in ordered])
        drawn = self._draw([chunk for chunk in ordered if chunk.samples])
        if len(drawn) == len(chunks):
            return [result for results in drawn for result in results]
        scored = self._score([chunk for chunk in chunks if not chunk.samples], ordered)
        results = {True: iter(drawn), False: iter(scored)}
        return [result for chunk in chunks for result in next(results[chunk.samples])]

    def _draw(self, drawing: Sequence[Chunk]) -> list[list[Result]]:
        draws = self._plan.draw(
            self._logits,
            [self._samplers[chunk.request_id] for chunk in drawing],
            [chunk.tokens[len(chunk.tokens) - chunk.drafts :] for chunk in drawing],
        )
        return [
            [
                Sampled(chunk.request_id, draw.token, draw.logprob, draw.top)
                if self._reports[chunk.request_id]
                else Sampled(chunk.request_id, draw.token)
                for draw in drawn
            ]
            for chunk, drawn in zip(drawing, draws, strict=True)
        ]

    def _score(self, scoring: Sequence[Chunk], drawing: Sequence[Chunk]) -> list[list[Result]]:
        """The scores of chunks whose rows of logits come after those that others draw from."""
        row = sum(chunk.drafts + 1 for chunk in drawing if chunk.samples)
        found = iter(self._plan.score(self._logits, row, [wanted for chunk in scoring for wanted in chunk.scores]))
        return [
            [Scores(chunk.request_id, [next(found) for _ in chunk.scores])] if chunk.scores else [] for chunk in scoring
        ]

    def logits(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Compute the chunks; the logits after each of their tokens, [tokens, vocabulary]. For tests and scoring."""
        counts = [len(chunk.tokens) for chunk in chunks]
        self._run(chunks, counts)
        return self._plan.rows(self._logits, sum(counts))

    def stage_times(self, chunks: Sequence[Chunk]) -> list[_native.StageTime]:
        """Compute the chunks without drawing; what each stage took. For benchmarks."""
        return self._plan.time(**_step(chunks, [1 if chunk.samples else 0 for chunk in chunks]))

    def _run(self, chunks: Sequence[Chunk], counts: list[int]) -> None:
        """Runs the plan; of each chunk the last so many rows have logits."""
        self._plan.run(**_step(chunks, counts))


def _step(chunks: Sequence[Chunk], counts: list[int]) -> dict[str, NDArray[np.int32]]:
    """The arrays of a step; of each chunk the last so many rows have logits."""
    tokens, positions, first_row, first_page, pages, selected = (array("i") for _ in range(6))
    first_row.append(0)
    first_page.append(0)
    for chunk, count in zip(chunks, counts, strict=True):
        tokens.extend(chunk.tokens)
        positions.extend(range(chunk.start, chunk.start + len(chunk.tokens)))
        pages.extend(chunk.pages)
        selected.extend(range(len(tokens) - count, len(tokens)))
        first_row.append(len(tokens))
        first_page.append(len(pages))
    return {
        "tokens": np.frombuffer(tokens, np.int32),
        "positions": np.frombuffer(positions, np.int32),
        "first_row": np.frombuffer(first_row, np.int32),
        "first_page": np.frombuffer(first_page, np.int32),
        "pages": np.frombuffer(pages, np.int32),
        "selected": np.frombuffer(selected, np.int32) if selected else np.empty(0, np.int32),
    }
