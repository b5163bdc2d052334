from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fairlead.service.capacity import Gpu, available_bytes, gpus

MIB = 1 << 20


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


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def program(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("no_nvml")
@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'NVIDIA H200, 143771, 140000'", (Gpu("NVIDIA H200", 143771 * MIB, 140000 * MIB),)),
        ("echo 'A, B, 10, 5'; echo 'C, 20, 9'", (Gpu("A, B", 10 * MIB, 5 * MIB), Gpu("C", 20 * MIB, 9 * MIB))),
        ("echo 'Shared, [N/A], [N/A]'", ()),
        ("echo 'NVIDIA-SMI has failed'; exit 9", ()),
    ],
)
def test_the_program_tells_of_graphics_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: tuple[Gpu, ...]
) -> None:
    program(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpus() == found


@pytest.mark.usefixtures("no_nvml")
def test_without_either_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == ()


class NVMLError(Exception):
    """As the library raises it."""


def test_the_library_comes_first_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "echo 'By program, 10, 5'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    library = ModuleType("pynvml")
    calls: list[str] = []
    vars(library).update(
        NVMLError=NVMLError,
        nvmlInit=lambda: calls.append("init"),
        nvmlShutdown=lambda: calls.append("shutdown"),
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetName=lambda device: b"By library",
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=100, free=60),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert gpus() == (Gpu("By library", 100, 60),)
    assert calls == ["init", "shutdown"]

    def no_driver() -> None:
        raise NVMLError

    vars(library)["nvmlInit"] = no_driver
    assert gpus() == (Gpu("By program", 10 * MIB, 5 * MIB),)
