"""The step of an encoder, with a fake one; and a real worker with a tiny BERT, by its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.engine.client import EngineClient
from fairlead.engine.embedding_engine import EmbeddingEngine
from fairlead.engine.encoder import Encoder
from fairlead.engine.messages import Cancel, Embed, Embedded, Event, Failed, Finished, Load, Sampling
from fairlead.errors import EngineFailed, InvalidRequest, ModelNotReady
from fairlead.gguf.opening import open_model
from fairlead.kernels import reference_plan
from tests import tiny_encoders
from tests.fakes import FakeRunner
from tests.tiny_models import make


@dataclass
class FakeEncoder:
    """A text's vector is its length and its first token."""

    context_length: int = 16
    max_batch_tokens: int = 32
    vocab_size: int = 100
    width: int = 2
    fails_on: int | None = None
    loses_rows: int = 0
    steps: list[list[int]] = field(default_factory=list)

    def encode(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.steps.append([len(text) for text in texts])
        if any(self.fails_on in text for text in texts):
            raise ValueError("the model does not like this token")
        return np.array([[len(text), text[0]] for text in texts], np.float32)[self.loses_rows :]


def run(engine: EmbeddingEngine) -> list[Event]:
    """Steps until nothing is left to do."""
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def test_what_is_an_encoder_and_what_is_not() -> None:
    assert isinstance(FakeEncoder(), Encoder)
    assert not isinstance(FakeRunner(), Encoder)


def test_vectors_come_in_the_order_of_the_texts() -> None:
    encoder = FakeEncoder()
    engine = EmbeddingEngine(encoder)
    assert engine.add(Embed(id=1, texts=[[7], [8] * 16, [9] * 3])) == []
    (embedded,) = run(engine)
    assert isinstance(embedded, Embedded)
    np.testing.assert_array_equal(np.frombuffer(embedded.vectors, "<f4").reshape(3, 2), [[1, 7], [16, 8], [3, 9]])
    assert embedded.usage.prompt_tokens == 20
    assert encoder.steps == [[16, 3, 1]]


@pytest.mark.parametrize("texts", [[], [[]], [[1], []], [[1] * 17], [[100]], [[-1]], [[1]] * 2**21])
def test_what_the_encoder_cannot_take_is_refused(texts: list[list[int]]) -> None:
    engine = EmbeddingEngine(FakeEncoder())
    (failed,) = engine.add(Embed(id=1, texts=texts))
    assert isinstance(failed, Failed)
    assert failed.code == InvalidRequest.code
    assert not engine.has_work


@pytest.mark.parametrize("encoder", [FakeEncoder(fails_on=66), FakeEncoder(loses_rows=1)])
def test_a_step_that_fails_ends_what_it_struck(encoder: FakeEncoder) -> None:
    engine = EmbeddingEngine(encoder)
    engine.add(Embed(id=1, texts=[[66] * 16, [1] * 16]))
    engine.add(Embed(id=2, texts=[[5] * 8], client=2))
    events = run(engine)
    assert Failed(1, EngineFailed.code, _message(events)) in events
    assert sorted(event.id for event in events if isinstance(event, Failed | Embedded)) == [1, 2]


def _message(events: list[Event]) -> str:
    return next(event.message for event in events if isinstance(event, Failed) and event.id == 1)


def test_its_state_is_told() -> None:
    engine = EmbeddingEngine(FakeEncoder())
    engine.add(Embed(id=1, texts=[[1] * 16] * 3, client=4))
    engine.add(Embed(id=2, texts=[[2]], client=5))
    before = engine.stats()
    assert (before.running, before.waiting, before.prefill_rate, before.steps) == (0, 2, None, 0)
    engine.step()
    during = engine.stats()
    assert (during.steps, during.prefill_tokens > 0, during.over_budget) == (1, True, 0)
    assert {load.client for load in during.clients} == {4, 5}
    run(engine)
    after = engine.stats()
    assert (after.running, after.waiting, after.prefill_tokens, after.queue) == (0, 0, 49, [])


def test_cancelling_ends_once() -> None:
    engine = EmbeddingEngine(FakeEncoder())
    engine.add(Embed(id=1, texts=[[1] * 16] * 5))
    engine.step()
    (finished,) = engine.cancel(Cancel(1))
    assert isinstance(finished, Finished)
    assert engine.cancel(Cancel(1)) == []
    assert not engine.has_work


# ---- a real worker --------------------------------------------------------------------------------


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[EngineClient]:
    tiny_encoders.make_gguf(tmp_path / "tiny.gguf")
    client = await EngineClient.start(Load(path=str(tmp_path / "tiny.gguf"), context_length=64, kv_tokens=64))
    yield client
    await client.close(force=True)


async def test_a_worker_makes_the_reference_vectors(worker: EngineClient, tmp_path: Path) -> None:
    assert worker.loaded.kv_bytes == 0
    assert worker.loaded.weight_bytes > 0
    texts = [[1, 2, 3], list(range(5, 69)), [90]]
    found = await worker.embed(texts).result()
    vectors = np.frombuffer(found.vectors, "<f4").reshape(3, -1)
    with open_model(tmp_path / "tiny.gguf") as file:
        for text, vector in zip(texts, vectors, strict=True):
            assert vector @ reference_plan.vector(file, text) > 0.9999
    assert found.usage.prompt_tokens == 68


async def test_many_at_once_are_answered_each_with_its_own(worker: EngineClient) -> None:
    alone = [(await worker.embed([[token] * 9]).result()).vectors for token in range(12)]
    asked = [worker.embed([[token] * 9] * 50, client=token % 3) for token in range(12)]
    found = await asyncio.gather(*(embedding.result() for embedding in asked))
    assert [one.vectors for one in found] == [vector * 50 for vector in alone]
    assert worker.in_flight == 0


async def test_who_leaves_is_forgotten_and_who_dies_says_so(worker: EngineClient) -> None:
    task = asyncio.create_task(worker.embed([[3] * 64] * 5000).result())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.in_flight == 0
    cancelled = worker.embed([[3] * 64] * 1000)
    cancelled.cancel()
    with pytest.raises(ModelNotReady):
        await cancelled.result()
    await worker.embed([[1]]).result()
    last = worker.embed([[3] * 64] * 5000)
    worker.kill()
    with pytest.raises(EngineFailed):
        await last.result()
    with pytest.raises(EngineFailed):
        worker.embed([[1]])


async def test_each_kind_of_worker_refuses_the_others_requests(worker: EngineClient, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no answers"):
        async for _ in worker.generate([1], Sampling(), max_tokens=1):
            pass
    with pytest.raises(InvalidRequest, match="64 tokens"):
        await worker.embed([[1] * 65]).result()
    make(tmp_path / "llama.gguf", "llama")
    decoder = await EngineClient.start(Load(path=str(tmp_path / "llama.gguf"), context_length=64, kv_tokens=64))
    try:
        with pytest.raises(InvalidRequest, match="no vectors"):
            await decoder.embed([[1]]).result()
    finally:
        await decoder.close(force=True)
