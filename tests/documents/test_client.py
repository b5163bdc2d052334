"""The process that reads: real, with its limits, and gone in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from fairlead.documents.client import Readers, ReadFailed
from fairlead.documents.messages import Job, Limits, Passages, Progress, Read
from tests.documents import made
from tests.documents.made import PARAGRAPH
from tests.polling import until

LONG = 40_000


def children() -> list[psutil.Process]:
    """The reading processes that run."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "fairlead.documents.process" in child.cmdline():
                found.append(child)
    return found


async def read(path: Path, kind: str, limits: Limits | None = None) -> tuple[str, Read, list[Progress]]:
    text, progress = "", []
    async with contextlib.aclosing(Readers(limits).read(path, kind)) as messages:
        async for message in messages:
            match message:
                case Passages():
                    text += "".join(passage.text for passage in message.passages)
                case Progress():
                    progress.append(message)
                case Read():
                    return text, message, progress
    raise AssertionError("no end")


async def failure(path: Path, kind: str, limits: Limits | None = None) -> str:
    with pytest.raises(ReadFailed) as told:
        await read(path, kind, limits)
    assert not children()
    return str(told.value)


async def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(made.pdf([PARAGRAPH * 20] * 40))
    text, end, progress = await read(path, "pdf")
    assert text.count("fairlead") == 800
    assert end == Read(len(text), 40)
    assert progress[-1] == Progress(40, 40)
    assert not children()


async def test_a_long_text_comes_in_parts_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    lines = "".join(f"line {number} über\n" for number in range(LONG))
    path.write_bytes(lines.encode())
    assert (await read(path, "python"))[0] == lines


@pytest.mark.parametrize(
    ("make", "kind", "limits"),
    [
        (made.pdf_bomb, "pdf", Limits(memory_bytes=400 << 20)),
        (made.pdf_within_itself, "pdf", Limits(memory_bytes=400 << 20)),
        (made.circular_pdf, "pdf", Limits()),
        (lambda: made.pdf(["x"])[:300] + b"%%EOF", "pdf", Limits()),
        (lambda: b"%PDF-1.7\n" + b"[" * 300_000 + b"%%EOF", "pdf", Limits()),
    ],
)
async def test_hostile_files_fail_with_a_reason(
    tmp_path: Path, make: Callable[[], bytes], kind: str, limits: Limits
) -> None:
    path = tmp_path / "x"
    path.write_bytes(make())
    began = time.monotonic()
    reason = await failure(path, kind, limits)
    assert time.monotonic() - began < 15
    assert reason.endswith(".")
    assert "log" not in reason, "a mistake of ours"
    assert str(tmp_path) not in reason


async def test_a_file_that_takes_too_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"word \n" * 10_000_000)
    assert "more than 150 MB of memory" in await failure(path, "text", Limits(memory_bytes=150 << 20))


async def test_a_file_that_takes_too_long_by_the_processor(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"-\n" * 2_400_000)
    assert "1 s of processor time" in await failure(path, "python", Limits(cpu_s=1))


async def test_a_file_that_takes_too_long_by_the_clock(tmp_path: Path) -> None:
    pipe = tmp_path / "x"
    os.mkfifo(pipe)
    hold = os.open(pipe, os.O_RDWR)  # a file that never ends
    try:
        assert "0 s" in await failure(pipe, "text", Limits(wall_s=0.4))
    finally:
        os.close(hold)


async def test_leaving_ends_the_process(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"word \n" * 500_000)
    async with contextlib.aclosing(Readers().read(path, "text")) as messages:
        assert isinstance(await anext(messages), Passages)
        assert len(children()) == 1
    assert not children()


async def test_a_task_that_is_cancelled_ends_its_process(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"- \n" * 1_200_000)
    task = asyncio.create_task(read(path, "text"))
    await until(children)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not children()


async def test_a_killed_process_is_a_failure_and_the_next_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"- \n" * 1_200_000)
    task = asyncio.create_task(failure(path, "text"))
    await until(children)
    children()[0].kill()
    assert "SIGKILL" in await task
    path.write_bytes(b"Fine.")
    assert (await read(path, "text"))[0] == "Fine."


async def test_only_so_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"word \n" * 20_000)
    readers = Readers(at_once=2)
    most = 0

    async def one() -> None:
        nonlocal most
        async for _ in readers.read(path, "text"):
            most = max(most, len(children()))

    await asyncio.gather(*(one() for _ in range(5)))
    assert most <= 2


def confined(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Python run as a reading process is, after it gave everything up."""
    script = (
        "import os\n"
        "from fairlead.documents.confinement import confine\n"
        "from fairlead.documents.messages import Limits\n"
        "confine(Limits(), os.getppid())\n" + code
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, cwd=tmp_path, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import subprocess; subprocess.run(['true'])",
        "open('made', 'w')",
        "open('there', 'a')",
        "os.unlink('there')",
        "os.rename('there', 'gone')",
        "os.mkdir('made')",
        "os.truncate('there', 0)",
        "os.symlink('there', 'made')",
        "os.execv('/bin/true', ['true'])",
    ],
)
def test_a_reading_process_may_neither_call_out_nor_write(code: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("kept")
    ended = confined(code, tmp_path)
    assert ended.returncode == 1
    assert "PermissionError" in ended.stderr
    assert (tmp_path / "there").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert confined("print(open('there').read(), os.nice(0))", tmp_path).stdout.split()[0] == "kept"


def test_it_ends_with_the_server(tmp_path: Path) -> None:
    job = msgspec.json.encode(Job("text")).decode()
    server = (
        "import os, subprocess, sys, time\n"
        "read, write = os.pipe()\n"
        "command = [sys.executable, '-m', 'fairlead.documents.process', sys.argv[1], str(os.getpid())]\n"
        "process = subprocess.Popen(command, stdin=read)\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", server, job], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        reader = psutil.Process(int(running.stdout.readline()))
        time.sleep(0.5)
        assert reader.is_running()
        running.send_signal(signal.SIGKILL)
        gone, _ = psutil.wait_procs([reader], timeout=5)
        assert gone


def test_the_server_imports_no_reader() -> None:
    readers = ("pypdfium2", "docx", "lxml", "charset_normalizer", "fairlead.documents.reading")
    code = f"import sys, fairlead.api.app; print(*(name for name in {readers} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout.strip() == ""
