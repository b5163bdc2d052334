"""What a reading process gives up before it looks at a file: time, memory, the network, and writing anything.

Limits of the kernel hold everywhere. On Linux (x86-64 and arm64) a filter of system calls (seccomp) comes on top: no
sockets, no programs, no file opened to be written. Where there is no such filter, the limits and the process remain.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from typing import Final

from fairlead.documents.messages import Limits

_NICE: Final = 5
"""Answers come before files: at this a running answer has three times the share of a processor."""
_OPEN_FILES: Final = 64

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SECCOMP_MODE_FILTER: Final = 2

_FORBIDDEN: Final = {
    "x86_64": (
        0xC000003E,
        (
            41, 42, 43, 49, 50, 53, 288,  # socket, connect, accept, bind, listen, socketpair, accept4
            59, 322, 101, 425,  # execve, execveat, ptrace, io_uring_setup
            76, 77, 82, 83, 84, 85, 86, 87, 88,  # (f)truncate, rename, mkdir, rmdir, creat, link, unlink, symlink
            90, 92, 258, 260, 263, 264,  # chmod, chown, mkdirat, fchownat, unlinkat, renameat
            265, 266, 268, 316, 437,  # linkat, symlinkat, fchmodat, renameat2, openat2 (its flags lie in memory)
        ),
        ((2, 1), (257, 2)),  # open, openat
    ),
    "aarch64": (
        0xC00000B7,
        (
            198, 203, 202, 200, 201, 199, 242,  # socket, connect, accept, bind, listen, socketpair, accept4
            221, 281, 117, 425,  # execve, execveat, ptrace, io_uring_setup
            45, 46, 34, 35, 36, 37, 38,  # truncate, ftruncate, mkdirat, unlinkat, symlinkat, linkat, renameat
            53, 54, 276, 437,  # fchmodat, fchownat, renameat2, openat2
        ),
        ((56, 2),),  # openat
    ),
}  # fmt: skip
"""By machine: its name, system calls that are refused, and those that open files, each with the place of its flags."""

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# struct sock_filter's codes (linux/bpf_common.h), and what a filter answers (linux/seccomp.h).
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_IF_AT_LEAST: Final = 0x35
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_CALLS: Final = 0x40000000


def confine(limits: Limits, parent: int) -> None:
    """Bind this process to its limits, for good; it ends with `parent`, the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal's processes; the server decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))  # first SIGXCPU, then SIGKILL
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(kind, (most, most))
    if sys.platform == "linux":  # elsewhere address space is reserved in amounts that mean nothing
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _filter_calls(libc)
    if os.getppid() != parent:
        os._exit(1)


def _filter_calls(libc: ctypes.CDLL) -> None:
    machine = _FORBIDDEN.get(platform.machine())
    if machine is None or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return
    code = _filter(*machine)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0)


def _filter(machine: int, calls: tuple[int, ...], opens: tuple[tuple[int, int], ...]) -> bytes:
    """A program of classic BPF over `struct seccomp_data`; jumps are counted in instructions from the next one."""
    refuse = [(_RETURN, 0, 0, _REFUSE)]
    program = [(_LOAD, 0, 0, _MACHINE_AT), (_IF_EQUAL, 1, 0, machine), *refuse, (_LOAD, 0, 0, _NUMBER_AT)]
    program += [(_IF_AT_LEAST, 0, 1, _X32_CALLS), *refuse]
    for call in calls:
        program += [(_IF_EQUAL, 0, 1, call), *refuse]
    for call, flags in opens:
        program += [(_IF_EQUAL, 0, 4, call), (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * flags)]
        program += [(_IF_ANY_BIT, 0, 1, _WRITING), *refuse, (_RETURN, 0, 0, _ALLOW)]
    program += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
