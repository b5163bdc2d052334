from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.errors import ModelFileError
from fairlead.gguf.shelf import DiskUse, Shelf
from fairlead.model_entry import Companion, FileSource, HubSource, ModelEntry

ENTRY = ModelEntry("tiny", "tiny.gguf", (HubSource("owner/repo", "tiny.gguf"),))
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of b"test"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.gguf").write_bytes(b"test")
    return Shelf(tmp_path / "models")


def path_of(shelf: Shelf) -> Path:
    return shelf.folder / "tiny.gguf"


def test_a_file_is_read_once_and_again_when_it_was_changed(shelf: Shelf) -> None:
    pinned, path = replace(ENTRY, sha256=SHA256), path_of(shelf)
    assert not shelf.is_proven(pinned, path)
    assert shelf.prove(pinned, path) == SHA256
    assert shelf.is_proven(pinned, path)
    os.utime(path, ns=(1, 1))
    assert not shelf.is_proven(pinned, path)


def test_what_is_corrupt_is_said_and_left(shelf: Shelf) -> None:
    pinned, path = replace(ENTRY, sha256="0" * 64), path_of(shelf)
    with pytest.raises(ModelFileError, match=r"corrupt: its SHA-256 is 9f86d081884c…, not 000000000000…"):
        shelf.prove(pinned, path)
    assert path.exists()
    assert not shelf.is_proven(pinned, path)


def test_a_checksum_that_came_with_the_file_holds_from_then_on(shelf: Shelf) -> None:
    path = path_of(shelf)
    assert shelf.is_proven(ENTRY, path), "there is nothing to go by"
    shelf.record(path, SHA256)
    assert shelf.checksum(ENTRY, path) == SHA256
    path.write_bytes(b"tost")
    assert not shelf.is_proven(ENTRY, path)
    with pytest.raises(ModelFileError, match="corrupt"):
        shelf.prove(ENTRY, path)


def test_a_file_of_another_size_is_none(shelf: Shelf) -> None:
    entry = replace(ENTRY, size_bytes=5)
    assert not shelf.is_proven(entry, path_of(shelf))
    with pytest.raises(ModelFileError, match="4 bytes, not the 5"):
        shelf.prove(entry, path_of(shelf))


def test_a_note_that_was_cut_short_is_no_proof(shelf: Shelf) -> None:
    shelf.record(path_of(shelf), SHA256)
    (note,) = (shelf.folder / ".proven").iterdir()
    note.write_bytes(note.read_bytes()[:10])
    assert shelf.checksum(ENTRY, path_of(shelf)) is None


def test_removing_deletes_what_was_fetched_and_nothing_else(shelf: Shelf, tmp_path: Path) -> None:
    partial = shelf.folder / ".partial"
    (partial / "tiny.gguf.wheel.part.x").mkdir(parents=True)
    (partial / "tiny.gguf.abc.part").write_bytes(b"12345")
    (partial / "other.gguf.abc.part").write_bytes(b"1")
    own = tmp_path / "own.gguf"
    own.write_bytes(b"mine")
    shelf.record(path_of(shelf), SHA256)
    use = shelf.disk_use()
    assert use == DiskUse(4, 6, use.free_bytes)
    assert shelf.remove(replace(ENTRY, sources=(FileSource(own),))) == 9
    assert own.exists()
    assert [path.name for path in partial.iterdir()] == ["other.gguf.abc.part"]
    assert list((shelf.folder / ".proven").iterdir()) == []
    assert shelf.remove(ENTRY) == 0


def with_companions(shelf: Shelf) -> ModelEntry:
    """A model in a folder of its own, with something beside its weights and something below."""
    folder = shelf.folder / "big"
    (folder / "inner").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "inner/config.json"):
        (folder / name).write_bytes(b"test")
    companions = (Companion(file="config.json", size_bytes=4), Companion(file="inner/config.json", sha256=SHA256))
    return ModelEntry("big", "big/model.safetensors", (HubSource("owner/repo", "m"),), companions=companions)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "inner/config.json"])
def test_a_model_is_there_when_all_its_files_are(shelf: Shelf, name: str) -> None:
    entry = with_companions(shelf)
    assert shelf.path(entry) == shelf.folder / "big" / "model.safetensors"
    (shelf.folder / "big" / name).unlink()
    assert shelf.path(entry) is None


def test_each_file_of_a_model_is_proven_by_itself(shelf: Shelf) -> None:
    entry = with_companions(shelf)
    path = shelf.path(entry)
    assert path is not None
    config, inner, weights = shelf.parts(entry, path)
    assert [shelf.is_proven(*part) for part in (config, inner, weights)] == [True, False, True]
    assert [shelf.prove(*part) for part in (config, inner, weights)] == [SHA256] * 3
    assert len(list((shelf.folder / ".proven").iterdir())) == 3, "though two are called alike"
    (shelf.folder / "big" / "inner" / "config.json").write_bytes(b"tost")
    assert not shelf.is_proven(*inner)
    (shelf.folder / "big" / "config.json").write_bytes(b"tests")
    assert shelf.path(entry) is None


def test_a_model_of_several_files_is_removed_with_its_folders(shelf: Shelf) -> None:
    entry = with_companions(shelf)
    assert shelf.disk_use().models_bytes == 4 * 4
    assert shelf.remove(entry) == 3 * 4
    assert [path.name for path in shelf.folder.iterdir()] == ["tiny.gguf"]
    entry = with_companions(shelf)
    (shelf.folder / "big" / "notes").write_bytes(b"mine")
    shelf.remove(entry)
    assert [path.name for path in (shelf.folder / "big").iterdir()] == ["notes"]


def test_a_folder_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    use = Shelf(tmp_path / "a" / "b").disk_use()
    assert (use.models_bytes, use.partial_bytes) == (0, 0)
    assert use.free_bytes > 0
