"""The process that reads one file: `python -m fairlead.documents.process JOB PARENT < FILE`.

JOB is a `messages.Job` in JSON and PARENT the server's process id. What it finds it writes to standard output, a
message a line; the last is `Read` or `Unread`. Nothing that a file says is believed, and whatever goes wrong with one
ends here.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import time
import traceback
from typing import BinaryIO

import msgspec

from fairlead.documents.columns import Value
from fairlead.documents.confinement import confine
from fairlead.documents.messages import Dialect, Job, Message, Passage, Passages, Progress, Read, Rows, Unread
from fairlead.documents.reading import Reading
from fairlead.documents.tables import table_in
from fairlead.documents.units import Unreadable

_BATCH_CHARACTERS = 64 << 10
_VALUE_CHARACTERS = 8
"""About what a number takes."""
_TELL_EVERY_S = 0.2
_DETAIL = 4_000


def main() -> None:
    """Read the file; returns when all is written."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message of ours
    logging.disable()
    confine(job.limits, int(sys.argv[2]))
    _read(job, sys.stdin.buffer, out)


def _read(job: Job, file: BinaryIO, out: BinaryIO) -> None:
    told = 0.0

    def on_page(done: int, total: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _TELL_EVERY_S or done == total:
            told = now
            _write(out, Progress(done, total))

    try:
        if job.table is not None:
            _read_table(job.kind, job.table, file.read(), out)
            return
        reading = Reading(job.kind, file.read(), job.limits, on_page)
        batch: list[Passage] = []
        characters = 0
        for passage in reading.passages():
            batch.append(passage)
            characters += len(passage.text)
            if characters > _BATCH_CHARACTERS:
                _write(out, Passages(batch))
                batch, characters = [], 0
        _write(out, Passages(batch))
        _write(out, reading.end())
    except Unreadable as error:
        _write(out, Unread(str(error)))
    except MemoryError:
        most = job.limits.memory_bytes >> 20
        _write(out, Unread(f"Reading it takes more than {most} MB of memory, the most allowed."))
    except RecursionError:
        _write(out, Unread("It is nested too deep to be read."))
    except BrokenPipeError:
        os._exit(1)  # the server wants no more
    except Exception:  # noqa: BLE001 - told to the server, which logs it: this process may write to no log
        _write(out, Unread("It could not be read; the server's log says why.", traceback.format_exc()[-_DETAIL:]))


def _read_table(kind: str, dialect: Dialect, data: bytes, out: BinaryIO) -> None:
    table = table_in(kind, data, dialect)
    _write(out, table.header)
    batch: list[list[Value]] = []
    characters = 0
    for row in itertools.islice(table.rows(), dialect.most_rows):
        batch.append(row)
        characters += sum(len(value) if isinstance(value, str) else _VALUE_CHARACTERS for value in row)
        if characters > _BATCH_CHARACTERS:
            _write(out, Rows(batch))
            batch, characters = [], 0
    _write(out, Rows(batch))
    _write(out, Read(table.characters))


def _write(out: BinaryIO, message: Message) -> None:
    out.write(msgspec.json.encode(message) + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
