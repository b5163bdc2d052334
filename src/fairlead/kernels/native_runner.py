"""The runner for the CPU: a model file's weights packed, its plan lowered, its KV cache and samplers held."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead.engine.messages import Load, Loaded, Sampling
from fairlead.engine.runner import Chunk, Sampled
from fairlead.gguf.quants import dequantise
from fairlead.gguf.reader import GGUFFile
from fairlead.kernels import _native
from fairlead.kernels.lowering import lower
from fairlead.kernels.processors import given_processors
from fairlead.models import record
from fairlead.models.plan import Rows

ReportProgress = Callable[[int, int], None]
"""Called with the bytes of the file that are packed, and all of them."""

LIKELY_DRAWS = 64
"""Rows of logits that are kept room for from the start; more of them take theirs when they come."""


def load(load: Load, progress: ReportProgress) -> tuple[NativeRunner, Loaded]:
    """Load a model file.

    Raises:
        ModelFileError: the file is damaged, or of a kind that is not built in.
    """
    began = time.monotonic()
    threads = load.threads or given_processors()
    with GGUFFile.open(Path(load.path)) as file:
        runner = NativeRunner(
            file,
            threads=threads,
            kv_tokens=load.kv_tokens,
            kv_type=load.kv_type,
            max_batch_tokens=load.max_batch_tokens,
            progress=progress,
        )
    return runner, Loaded(
        instruction_set=_native.instruction_set(),
        threads=threads,
        weight_bytes=runner.weight_bytes,
        kv_bytes=runner.kv_bytes,
        work_bytes=runner.work_bytes,
        load_s=time.monotonic() - began,
    )


class NativeRunner:
    """A model on the CPU; implements `engine.runner.Runner`.

    The file may be closed once this is made: nothing of it stays mapped.
    """

    def __init__(
        self,
        file: GGUFFile,
        *,
        threads: int,
        kv_tokens: int,
        kv_type: str = "f16",
        max_batch_tokens: int = 512,
        progress: ReportProgress | None = None,
    ) -> None:
        plan = record(file)
        self.page_size = _native.PAGE_TOKENS
        self.page_count = -(-kv_tokens // self.page_size)
        self.max_batch_tokens = max_batch_tokens
        self.vocab_size = plan.logits.width
        self._pool = _native.ThreadPool(threads)
        self._cache = _native.KvCache(
            layers=plan.kv.layers,
            heads=plan.kv.heads,
            head_dim=plan.kv.head_dim,
            pages=self.page_count,
            type=kv_type,
            pool=self._pool,
        )
        self._plan = _native.Plan(self._pool, self._cache)
        weights = _Weights(file, self._pool, progress or (lambda _done, _total: None))
        self._logits, self._weights = lower(plan, self._plan, weights.matrix, weights.vector)
        self.weights = weights.packed
        """By the rows of the file's tensors that they hold."""
        self._plan.reserve(max_batch_tokens, min(max_batch_tokens, LIKELY_DRAWS))
        self._samplers: dict[int, _native.Sampler] = {}
        self._reports: dict[int, bool] = {}

    @property
    def weight_bytes(self) -> int:
        """Of the packed weights."""
        return sum(weight.nbytes for weight in {id(w): w for w in self._weights}.values())

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

    def forward(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """Compute the chunks and draw for those that sample, after each draft that proves right too."""
        drawing = [chunk for chunk in chunks if chunk.samples]
        self._run(chunks, [chunk.drafts + 1 if chunk.samples else 0 for chunk in chunks])
        draws = self._plan.draw(
            self._logits,
            [self._samplers[chunk.request_id] for chunk in drawing],
            [chunk.tokens[len(chunk.tokens) - chunk.drafts :] for chunk in drawing],
        )
        return [
            Sampled(chunk.request_id, draw.token, draw.logprob, draw.top)
            if self._reports[chunk.request_id]
            else Sampled(chunk.request_id, draw.token)
            for chunk, drawn in zip(drawing, draws, strict=True)
            for draw in drawn
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


class _Weights:
    """Packs a file's tensors, each range of outputs once, and reports how far it is."""

    def __init__(self, file: GGUFFile, pool: _native.ThreadPool, progress: ReportProgress) -> None:
        self._file = file
        self._pool = pool
        self._progress = progress
        self.packed: dict[Rows, _native.Weight] = {}
        self._done = 0
        self._total = sum(tensor.nbytes for tensor in file.tensors.values())

    def matrix(self, rows: Rows) -> _native.Weight:
        """A weight, packed; the same object where an output head is tied to the embedding."""
        if rows not in self.packed:
            tensor = self._file.tensors[rows.tensor]
            inputs = tensor.shape[1]
            row_bytes = tensor.format.bytes_for(inputs)
            data = tensor.data[rows.begin * row_bytes : rows.end * row_bytes]
            self.packed[rows] = _native.Weight(tensor.format, data, rows.end - rows.begin, inputs, self._pool)
            self._done += len(data)
            self._progress(self._done, self._total)
        return self.packed[rows]

    def vector(self, rows: Rows) -> NDArray[np.float32]:
        """A norm's weight or a bias, as fp32."""
        tensor = self._file.tensors[rows.tensor]
        values = dequantise(tensor.data, tensor.format, tensor.shape)
        return np.ascontiguousarray(values[rows.begin : rows.end], np.float32)
