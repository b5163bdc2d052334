"""Files' bytes by their hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fairlead.storage.blobs import Blobs


def kept(blobs: Blobs, data: bytes) -> str:
    incoming = blobs.incoming()
    for begin in range(0, len(data), 7):
        incoming.write(data[begin : begin + 7])
    incoming.sync()
    blobs.keep(incoming)
    incoming.discard()
    return incoming.sha256


def test_a_file_lies_under_its_hash_once(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "files")
    data = b"Ropes and lines" * 10
    digest = kept(blobs, data)
    assert digest == hashlib.sha256(data).hexdigest() == kept(blobs, data)
    assert blobs.path(digest) == tmp_path / "files" / digest[:2] / digest
    assert blobs.path(digest).read_bytes() == data
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 1
    blobs.delete(digest)
    blobs.delete(digest)
    assert not blobs.path(digest).exists()


def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "files")
    incoming = blobs.incoming()
    incoming.write(b"half a fi")
    incoming.discard()
    incoming.discard()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_both_ends_of_a_file(tmp_path: Path) -> None:
    incoming = Blobs(tmp_path).incoming()
    incoming.write(b"0123456789")
    assert incoming.ends(3, 4) == (b"012", b"6789")
    assert incoming.ends(30, 40) == (b"0123456789", b"0123456789")
    incoming.discard()


def test_a_sweep_keeps_what_is_wanted(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "files")
    assert blobs.sweep(()) == 0, "without a folder"
    wanted, other = kept(blobs, b"wanted"), kept(blobs, b"other")
    left = blobs.incoming()
    left.write(b"left by a server that was killed")
    left.sync()
    (tmp_path / "files" / "notes.txt").write_text("not ours")
    assert blobs.sweep({wanted}) == 2
    assert blobs.path(wanted).exists()
    assert not blobs.path(other).exists()
    assert (tmp_path / "files" / "notes.txt").exists()


@pytest.mark.parametrize("name", ["../x", "", "A" * 64, "a" * 63, "/etc/passwd"])
def test_nothing_but_a_hash_is_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(AssertionError):
        Blobs(tmp_path).path(name)
