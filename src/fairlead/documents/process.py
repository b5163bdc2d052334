"""The process that reads one file: `python -m fairlead.documents.process JOB PARENT < FILE`.

JOB is a `messages.Job` in JSON and PARENT the server's process id. What it finds it writes to standard output, a
message a line; the last is `Read` or `Unread`. Nothing that a file says is believed, and whatever goes wrong with one
ends here.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from typing import BinaryIO

import msgspec

from fairlead.documents.confinement import confine
from fairlead.documents.messages import Job, Message, Passage, Passages, Progress, Unread
from fairlead.documents.reading import Reading
from fairlead.documents.units import Unreadable

_BATCH_CHARACTERS = 64 << 10
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


def _write(out: BinaryIO, message: Message) -> None:
    out.write(msgspec.json.encode(message) + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
