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
from fairlead.service.memory import Footprint, available_bytes
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
    cache = KvCache(layers=kv.layers, heads=kv.heads, head_dim=kv.head_dim, pages=4, type=kv_type)
    assert footprint.estimate(4 * PAGE_TOKENS).kv_bytes == cache.nbytes


def test_an_estimate_is_the_sum_of_its_parts() -> None:
    estimate = FOOTPRINT.estimate(4096)
    assert estimate.kv_bytes == 4 * MIB
    assert estimate.required_bytes == (
        estimate.weight_bytes + estimate.kv_bytes + estimate.work_bytes + estimate.margin_bytes
    )


def test_with_much_memory_the_context_is_the_models_own() -> None:
    plan = FOOTPRINT.plan(None, None, FIXED + 1000 * MIB)
    assert plan.context_length == 8192
    assert plan.kv_tokens == 16384


def test_with_little_memory_a_context_that_nobody_asked_for_is_cut() -> None:
    plan = FOOTPRINT.plan(None, None, FIXED + 10 * MIB)
    assert plan.context_length == 5120
    assert plan.kv_tokens == 5120


def test_a_context_that_was_asked_for_is_kept_or_refused() -> None:
    assert FOOTPRINT.plan(8192, None, FIXED + 8 * MIB).context_length == 8192
    with pytest.raises(DoesNotFit) as refused:
        FOOTPRINT.plan(8192, None, FIXED + 7 * MIB)
    details = refused.value.details
    assert details["required_bytes"] == FIXED + 8 * MIB
    assert details["available_bytes"] == FIXED + 7 * MIB
    assert details["largest_context_that_fits"] == 7 * 1024
    assert FOOTPRINT.plan(7 * 1024, None, FIXED + 7 * MIB)


def test_a_cache_that_was_asked_for_is_kept_and_never_smaller_than_the_context() -> None:
    assert FOOTPRINT.plan(1024, 3000, FIXED + 100 * MIB).kv_tokens == 3000
    assert FOOTPRINT.plan(4096, 3000, FIXED + 100 * MIB).kv_tokens == 4096


def test_weights_that_do_not_fit_leave_no_context() -> None:
    with pytest.raises(DoesNotFit) as refused:
        FOOTPRINT.plan(None, None, 50 * MIB)
    assert refused.value.details["largest_context_that_fits"] == 0


@given(
    context=st.none() | st.integers(1, 8192),
    kv_tokens=st.none() | st.integers(1, 100_000),
    available=st.integers(0, 2 * FIXED),
)
def test_what_is_planned_fits(context: int | None, kv_tokens: int | None, available: int) -> None:
    with contextlib.suppress(DoesNotFit):
        plan = FOOTPRINT.plan(context, kv_tokens, available)
        assert plan.estimate.required_bytes <= available
        assert plan.kv_tokens >= plan.context_length >= 1
        assert plan.context_length <= 8192
        assert context in (None, plan.context_length)


def test_the_limit_of_a_control_group_counts(tmp_path: Path) -> None:
    free = available_bytes(tmp_path)
    assert free > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path) > 0
    (tmp_path / "memory.max").write_text(f"{100 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{80 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {30 * MIB}\nactive_file {10 * MIB}\n")
    assert available_bytes(tmp_path) == 60 * MIB


def test_so_does_that_of_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{100 * MIB}\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(f"{120 * MIB}\n")
    (tmp_path / "memory" / "memory.stat").write_text(f"total_inactive_file {10 * MIB}\n")
    assert available_bytes(tmp_path) == 0
