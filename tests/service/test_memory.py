from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import KVType, Settings
from fairlead.errors import DoesNotFit
from fairlead.gguf.reader import GGUFFile
from fairlead.kernels import PAGE_TOKENS, packed_bytes
from fairlead.kernels._native import KvCache
from fairlead.models import describe
from fairlead.service.facts import Facts
from fairlead.service.memory import Footprint, Wish
from tests.served import write_model

MIB = 1 << 20
FOOTPRINT = Footprint(weight_bytes=100 * MIB, work_bytes=10 * MIB, kv_bytes_per_token=1024, trained_context=8192)
FIXED = FOOTPRINT.estimate(0).required_bytes


def test_the_footprint_of_a_file(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf")
    with GGUFFile.open(tmp_path / "tiny.gguf") as file:
        description = describe(file)
        footprint = Footprint.of(description, file.tensors.values(), Settings(home=tmp_path))
        (embedding,) = file.tensors.values()
        assert footprint.weight_bytes == packed_bytes(embedding.format, *embedding.shape)
    kv = description.kv
    assert kv is not None
    assert footprint.kv_bytes_per_token == 2 * kv.layers * kv.heads * kv.head_dim * 2
    assert footprint.trained_context == description.context_length


@pytest.mark.parametrize("kv_type", ["f16", "f32", "q8"])
def test_the_cache_takes_what_was_estimated(kv_type: KVType, tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf")
    with GGUFFile.open(tmp_path / "tiny.gguf") as file:
        description = describe(file)
        settings = Settings(home=tmp_path, kv_type=kv_type)
        footprint = Footprint.of(description, file.tensors.values(), settings)
    kv = description.kv
    assert kv is not None
    cache = KvCache(layers=kv.layers, heads=kv.heads, head_dim=kv.head_dim, pages=4, type=kv_type)
    assert footprint.estimate(4 * PAGE_TOKENS).kv_bytes == cache.nbytes


def test_an_estimate_is_the_sum_of_its_parts() -> None:
    estimate = FOOTPRINT.estimate(4096)
    assert estimate.kv_bytes == 4 * MIB
    assert estimate.required_bytes == (
        estimate.weight_bytes + estimate.kv_bytes + estimate.work_bytes + estimate.margin_bytes
    )


def test_with_much_memory_the_context_is_the_models_own() -> None:
    plan = FOOTPRINT.plan(Wish(None, None), FIXED + 1000 * MIB)
    assert plan.context_length == 8192
    assert plan.kv_tokens == 16384


def test_with_little_memory_a_context_that_nobody_asked_for_is_cut() -> None:
    plan = FOOTPRINT.plan(Wish(None, None), FIXED + 10 * MIB)
    assert plan.context_length == 5120
    assert plan.kv_tokens == 5120


def test_a_context_that_was_asked_for_is_kept_or_refused() -> None:
    assert FOOTPRINT.plan(Wish(8192, None), FIXED + 8 * MIB).context_length == 8192
    with pytest.raises(DoesNotFit) as refused:
        FOOTPRINT.plan(Wish(8192, None), FIXED + 7 * MIB)
    details = refused.value.details
    assert details["required_bytes"] == FIXED + 8 * MIB
    assert details["available_bytes"] == FIXED + 7 * MIB
    assert details["largest_context_that_fits"] == 7 * 1024
    assert FOOTPRINT.plan(Wish(7 * 1024, None), FIXED + 7 * MIB)


def test_a_cache_that_was_asked_for_is_kept_and_never_smaller_than_the_context() -> None:
    assert FOOTPRINT.plan(Wish(1024, 3000), FIXED + 100 * MIB).kv_tokens == 3000
    assert FOOTPRINT.plan(Wish(4096, 3000), FIXED + 100 * MIB).kv_tokens == 4096


def test_weights_that_do_not_fit_leave_no_context() -> None:
    with pytest.raises(DoesNotFit) as refused:
        FOOTPRINT.plan(Wish(None, None), 50 * MIB)
    assert refused.value.details["largest_context_that_fits"] == 0


@given(
    context=st.none() | st.integers(1, 8192),
    kv_tokens=st.none() | st.integers(1, 100_000),
    available=st.integers(0, 2 * FIXED),
)
def test_what_is_planned_fits(context: int | None, kv_tokens: int | None, available: int) -> None:
    with contextlib.suppress(DoesNotFit):
        plan = FOOTPRINT.plan(Wish(context, kv_tokens), available)
        assert plan.estimate.required_bytes <= available
        assert plan.kv_tokens >= plan.context_length >= 1
        assert plan.context_length <= 8192
        assert context in (None, plan.context_length)


def test_room_for_requests_side_by_side_is_room_for_each_at_its_longest() -> None:
    wish = Wish(1024, parallel=3)
    assert FOOTPRINT.plan(wish, FIXED + 100 * MIB).kv_tokens == 3072
    assert FOOTPRINT.least(wish).kv_tokens == 3072
    with pytest.raises(DoesNotFit) as refused:
        FOOTPRINT.plan(Wish(4096, parallel=4), FIXED + 8 * MIB)
    assert refused.value.details["largest_context_that_fits"] == 2048
    assert FOOTPRINT.plan(Wish(2048, parallel=4), FIXED + 8 * MIB)


@pytest.mark.parametrize(("parallel", "running"), [(None, 64), (3, 3), (100, 64)])
def test_a_worker_runs_no_more_at_once_than_it_has_room_for(parallel: int | None, running: int, tmp_path: Path) -> None:
    plan = FOOTPRINT.plan(Wish(1024, parallel=parallel), FIXED + 1000 * MIB)
    load = plan.command(tmp_path / "tiny.gguf", Settings(home=tmp_path, max_running=64))
    assert load.scheduling.max_running == running
    assert load.kv_tokens >= 1024 * (parallel or 1)


def test_work_space_grows_with_threads_and_draws(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.gguf")

    def work_bytes(threads: int, max_running: int) -> int:
        settings = Settings(home=tmp_path, threads=threads, max_running=max_running)
        return Facts.read(tmp_path / "tiny.gguf", settings).footprint.work_bytes

    assert work_bytes(2, 64) > work_bytes(1, 64)
    assert work_bytes(1, 200) > work_bytes(1, 64) == work_bytes(1, 1)
    assert work_bytes(1, 4096) == work_bytes(1, 512), "a step draws no more than it computes"


@given(context=st.none() | st.integers(1, 8192), parallel=st.none() | st.integers(1, 8))
def test_the_least_is_what_is_just_enough(context: int | None, parallel: int | None) -> None:
    wish = Wish(context, parallel=parallel)
    required = FOOTPRINT.least(wish).estimate.required_bytes
    assert FOOTPRINT.plan(wish, required + MIB).context_length >= (context or 1)
    with pytest.raises(DoesNotFit):
        FOOTPRINT.plan(wish, required - 1)
