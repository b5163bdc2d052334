from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.bench import engine
from fairlead.bench.engine import EngineFigures, measure_engine
from fairlead.bench.suite import Suite
from fairlead.bench.timing import Decode, Prefill
from fairlead.config import Settings
from fairlead.errors import DoesNotFit, InvalidRequest
from tests import tiny_models

SUITE = Suite(prompts=(40, 100), batches=(1, 3), contexts=(33, 64), seconds=0.02)
SETTINGS = Settings(Path(), max_batch_tokens=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    tiny_models.make(path, "llama")
    return path


def measure(model: Path, suite: Suite, told: list[str] | None = None) -> EngineFigures:
    return measure_engine(model, suite, SETTINGS, 2, (told if told is not None else []).append)


def test_every_figure_of_the_suite_is_taken(model: Path) -> None:
    told: list[str] = []
    found = measure(model, SUITE, told)
    assert [figure.tokens for figure in found.prefill] == [40, 100]
    assert [(figure.batch, figure.context) for figure in found.decode] == [(1, 33), (3, 33), (1, 64), (3, 64)]
    figures: list[Prefill | Decode] = [*found.prefill, *found.decode]
    for figure in figures:
        assert figure.seconds > 0
        assert figure.work.nbytes > 0
        assert set(figure.limits.operations_per_s) == set(figure.work.multiply_adds)
    assert found.left_out == ()
    assert told == ["loading", "prompt of 40", "prompt of 100", *(
        f"batch of {batch}, context {context}" for context in (33, 64) for batch in (1, 3)
    )]  # fmt: skip
    assert found.loaded.threads == 2
    assert found.file_bytes == model.stat().st_size


def test_a_long_prompt_is_read_in_steps(model: Path) -> None:
    short, long = measure(model, SUITE).prefill
    weights = short.work.nbytes - 40 * 2 * 2 * 2 * 2 * 64  # keys and values of 2 layers and 2 heads of 64, in f16
    assert long.work.nbytes > 2 * (weights - 1e6)  # weights once for each step; the head only in the last


def test_the_process_grows_by_what_the_model_holds(model: Path) -> None:
    """The KV cache too: pages that were never touched would be read from nowhere, and decoding look too fast."""
    found = measure(model, replace(SUITE, batches=(512 // 8,), contexts=(512,), prompts=(64,)))
    assert found.loaded.kv_bytes == 64 * 512 * 2 * 2 * 2 * 2 * 64
    assert found.resident_bytes > 0.95 * found.loaded.kv_bytes


def test_what_there_is_no_time_for_is_named(model: Path) -> None:
    found = measure(model, replace(SUITE, limit_s=0))
    assert (found.prefill, found.decode) == ((), ())
    assert found.left_out[0] == "prompt of 40"
    assert len(found.left_out) == 6


def test_too_long_a_context_is_refused(model: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"Tiny llama is made for 512 tokens: .*--context"):
        measure(model, replace(SUITE, contexts=(513,)))


def test_more_sequences_than_a_step_takes_are_refused(model: Path) -> None:
    with pytest.raises(InvalidRequest, match="64 sequences at most"):
        measure(model, replace(SUITE, batches=(65,)))


def test_it_does_not_load_what_does_not_fit(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "available_bytes", lambda: 64 << 20)
    with pytest.raises(DoesNotFit, match=r"KV cache of 192 tokens .* 64 MiB are available.*--batch"):
        measure(model, SUITE)
