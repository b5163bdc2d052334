from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.bench import machine
from fairlead.bench.machine import Limits, Machine, cache_bytes, measure_machine
from fairlead.errors import DoesNotFit
from fairlead.kernels import ThreadPool, arithmetic_units, instruction_sets, measure_peak, measure_read_bandwidth


@pytest.fixture(scope="module")
def measured() -> Machine:
    return measure_machine(threads=2, seconds=0.1, tell=lambda _stage: None)


def test_memory_is_read_at_a_plausible_rate(measured: Machine) -> None:
    assert 0.2e9 < measured.read_bytes_per_s_of_one <= measured.limits.read_bytes_per_s < 5e12


def test_every_unit_is_measured_at_a_plausible_rate(measured: Machine) -> None:
    assert list(measured.limits.operations_per_s) == arithmetic_units()
    for rate in measured.limits.operations_per_s.values():
        assert 0.2e9 < rate < 1e15


def test_of_several_measurements_the_median_counts() -> None:
    measured = [Limits(40e9, {"fast": 3e12}), Limits(60e9, {"fast": 1e12}), Limits(50e9, {"fast": 2e12})]
    assert Limits.usual(measured) == Limits(50e9, {"fast": 2e12})


@pytest.mark.parametrize(
    ("slower", "faster"),
    [  # a wider register, or a narrower number, in the same port; with room for a busy machine
        ("avx2_fp32", "avx_vnni_int8"),
        ("avx512_fp32", "avx512_vnni_int8"),
        ("avx512_fp32", "amx_bf16"),
        ("amx_bf16", "amx_int8"),
    ],
)
def test_units_made_for_more_give_more(slower: str, faster: str) -> None:
    lacking = {slower, faster} - set(arithmetic_units())
    if lacking:
        pytest.skip(f"this processor lacks {', '.join(sorted(lacking))}")
    pool = ThreadPool(1)
    assert measure_peak(faster, pool, 0.2) > 1.2 * measure_peak(slower, pool, 0.2)


def test_each_instruction_set_comes_with_its_units() -> None:
    units = arithmetic_units()
    assert units[0] == "portable_fp32"
    for isa, unit in {"avx2": "avx2_fp32", "avx512": "avx512_int8", "vnni": "avx512_vnni_int8"}.items():
        assert (unit in units) == (isa in instruction_sets())
    assert ("amx_int8" in units) == ("amx" in instruction_sets())


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="has no arithmetic unit 'abacus'"):
        measure_peak("abacus", ThreadPool(1), 0.1)


@pytest.mark.parametrize("nbytes", [1, 4096, 100_000])
def test_little_memory_can_be_read_by_many_threads(nbytes: int) -> None:
    assert measure_read_bandwidth(ThreadPool(5), nbytes, 0.001) > 0


def test_it_does_not_begin_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_bytes", lambda: 1 << 20)
    with pytest.raises(DoesNotFit, match=r"takes a buffer of \d+ MiB, and 1 are available"):
        measure_machine(1, 0.1, lambda _stage: None)


def test_last_level_caches_are_counted_once_each(tmp_path: Path) -> None:
    for processor in range(4):
        for index, (level, shared_by, size) in enumerate(
            [(1, f"{processor}", "48K"), (2, f"{processor}", "2048K"), (3, f"{processor // 2 * 2}", "32768K")]
        ):
            cache = tmp_path / f"cpu{processor}" / "cache" / f"index{index}"
            cache.mkdir(parents=True)
            (cache / "level").write_text(f"{level}\n")
            (cache / "shared_cpu_list").write_text(f"{shared_by}\n")
            (cache / "size").write_text(f"{size}\n")
    assert cache_bytes(tmp_path) == 2 * (32 << 20)
    assert cache_bytes(tmp_path / "nowhere") == 0
