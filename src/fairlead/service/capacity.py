"""What memory there is: the machine's, its control groups', and its graphics processors'.

Reads limits and starts nothing but `nvidia-smi`; knows nothing of models. All sizes are in bytes.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from fairlead import control_groups
from fairlead.control_groups import number

_ANSWERS_WITHIN_S: Final = 10.0
"""A driver that hangs must not hold up whoever wants to know."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor and its memory."""

    name: str
    total_bytes: int
    available_bytes: int


def available_bytes(cgroup_root: Path = control_groups.ROOT) -> int:
    """What this process and its children may still take: the machine's memory or its control group's."""
    available = int(psutil.virtual_memory().available)
    for limit, used in _cgroup_limits(cgroup_root):
        available = min(available, limit - used)
    return max(0, available)


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA processors here: by NVIDIA's own library where it is installed, else as `nvidia-smi` tells."""
    return _gpus_by_library() or _gpus_by_program()


def _gpus_by_library() -> tuple[Gpu, ...]:
    """None of them where `nvidia-ml-py`, which Fairlead does not need, is not installed or finds no driver."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    found = []
    try:
        for number in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(number)
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            name = nvml.nvmlDeviceGetName(device)
            found.append(Gpu(name.decode() if isinstance(name, bytes) else name, int(memory.total), int(memory.free)))
    except nvml.NVMLError:
        return ()
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return tuple(found)


def _gpus_by_program() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(  # noqa: S603  (the command is ours)
            query, capture_output=True, text=True, timeout=_ANSWERS_WITHIN_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = []
    for line in told.splitlines():
        fields = [field.strip() for field in line.rsplit(",", 2)]
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():  # "[N/A]" where it shares the RAM
            found.append(Gpu(fields[0], int(fields[1]) << 20, int(fields[2]) << 20))
    return tuple(found)


def _cgroup_limits(root: Path) -> Iterable[tuple[int, int]]:
    """(limit, used without what the kernel would give back) of the control groups that hold this process."""
    for folder in control_groups.unified(root):
        if (limit := number(folder / "memory.max")) is not None:
            yield limit, (number(folder / "memory.current") or 0) - _reclaimable(folder / "memory.stat", "")
    for folder in control_groups.of_controller("memory", root):
        if (limit := number(folder / "memory.limit_in_bytes")) is not None:
            used = number(folder / "memory.usage_in_bytes") or 0
            yield limit, used - _reclaimable(folder / "memory.stat", "total_")


def _reclaimable(path: Path, prefix: str) -> int:
    """Bytes of the page cache, which the kernel gives back before it refuses memory."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    keys = {f"{prefix}inactive_file", f"{prefix}active_file"}
    fields = (line.split() for line in lines)
    return sum(int(field[1]) for field in fields if len(field) == 2 and field[0] in keys)
