"""`fairlead doctor`: what this machine has, what is built, and where the data lives."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import typer

import fairlead
from fairlead.cli.options import Config, Home
from fairlead.cli.terminal import size
from fairlead.config import CONFIG_FILE, Settings, load_settings
from fairlead.visible import safe

_CGROUP = Path("/sys/fs/cgroup")


def doctor(home: Home = None, config: Config = None) -> None:
    """Look at the machine and the installation; fails where Fairlead cannot work here."""
    settings = load_settings(home, config)
    broken = _report("extension", _extension())
    _report("fairlead", iter([f"{fairlead.__version__}, Python {platform.python_version()}, {platform.platform()}"]))
    _report("processor", _processor())
    _report("memory", _memory())
    _report("GPU", _gpu())
    _report("data", _data(settings, config))
    broken |= _report("models", _models(settings))
    if broken:
        raise typer.Exit(1)


def _report(what: str, lines: Iterator[str]) -> bool:
    """Print the lines; whether one of them says that something is broken."""
    broken = False
    for line in lines:
        typer.echo(f"{what:<11}{safe(line)}")
        broken |= line.startswith("BROKEN")
        what = ""
    return broken


def _extension() -> Iterator[str]:
    try:
        from fairlead import kernels
    except ImportError as error:
        yield f"BROKEN: the C++ extension is not built ({error}); `make build` builds it"
        return
    try:
        used = kernels.instruction_set()
    except ValueError as error:
        yield f"BROKEN: {error}"
        return
    yield f"built; uses {used}, of {', '.join(kernels.instruction_sets())}"


def _processor() -> Iterator[str]:
    yield _processor_name()
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"{os.cpu_count()} logical processors, {given} given to this process"
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return
    if quota != "max":
        yield f"limited to the time of {int(quota) / int(period):.1f} by the control group"


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.machine()


def _memory() -> Iterator[str]:
    import psutil

    memory = psutil.virtual_memory()
    yield f"{size(memory.total)}, {size(memory.available)} available"
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
    except OSError:
        return
    if limit.isdecimal():
        yield f"limited to {size(int(limit))} by the control group"


def _gpu() -> Iterator[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        yield "none seen (there is no nvidia-smi); models run on the processor"
        return
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        yield f"nvidia-smi does not work here ({type(error).__name__}); models run on the processor"
        return
    for line in found.splitlines() or ["none"]:
        yield f"{line.strip()}; not used yet: models run on the processor"


def _data(settings: Settings, config: Path | None) -> Iterator[str]:
    yield f"{settings.home}{'' if settings.home.is_dir() else ' (not made yet)'}"
    path = config or settings.home / CONFIG_FILE
    yield f"configuration: {path if path.exists() else 'none, all defaults'}"
    there = next((folder for folder in (settings.home, *settings.home.parents) if folder.exists()), Path("/"))
    yield f"{size(shutil.disk_usage(there).free)} free on its disk"


def _models(settings: Settings) -> Iterator[str]:
    from fairlead.errors import ModelFileError
    from fairlead.gguf.catalogue import Catalogue
    from fairlead.gguf.opening import open_model

    catalogue = Catalogue(settings)
    here = [(entry, path) for entry in catalogue if (path := catalogue.path(entry)) is not None]
    if not here:
        yield f"none on this machine; `fairlead pull {settings.default_model or 'NAME'}` fetches one"
    for entry, path in here:
        try:
            with open_model(path) as file:
                yield f"{entry.name}: {file.architecture} {file.quantization}, {size(path.stat().st_size)}"
        except ModelFileError as error:
            yield f"BROKEN: {entry.name}: {error.message}; delete it and pull it again"
