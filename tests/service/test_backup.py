from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from fairlead.config import Settings
from fairlead.errors import ConfigError, Conflict, FairleadError, InvalidRequest
from fairlead.service.backup import Told, back_up, restore
from fairlead.service.keys import Keyring, Keys
from fairlead.service.store import Store, opened
from fairlead.storage.database import Database
from fairlead.storage.tables import File, Message
from tests.storage.test_search import NOW, chat, ids, person


def blob(settings: Settings, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    path = settings.files_dir / sha256[:2] / sha256
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return sha256


async def attach(database: Database, chat_id: int, number: int, sha256: str) -> None:
    async with database.writing() as connection:
        values = {"chat_id": chat_id, "number": number, "name": "a.txt", "kind": "text", "sha256": sha256}
        await connection.execute(insert(File).values(**values, size_bytes=1, state="ready", created_at=NOW))


@pytest.fixture
async def home(tmp_path: Path) -> Settings:
    """One with a chat, two files, of which one is no chat's, and a key."""
    settings = Settings(tmp_path / "home")
    async with opened(settings) as database:
        row = await chat(database, await person(database), 1, "On ropes", "What is a halyard?")
        await attach(database, row, 1, blob(settings, b"ropes"))
        await attach(database, row, 2, blob(settings, b"ropes"))
        await Keys(database, settings.key_secret).add("anna")
    blob(settings, b"of no chat")
    return settings


async def test_what_was_backed_up_comes_back(home: Settings, tmp_path: Path) -> None:
    archive, other = tmp_path / "backup.tar", Settings(tmp_path / "other")
    async with opened(home) as database:
        key = await Keys(database, home.key_secret).add("ben")
    told = back_up(home, archive)
    assert told == Told(archive.stat().st_size, 1)
    assert oct(archive.stat().st_mode)[-3:] == "600"
    assert sorted(path.name for path in home.home.iterdir()) == ["fairlead.db", "files", "keys.secret"]
    restore(other, archive)
    assert [path.read_bytes() for path in other.files_dir.glob("*/*")] == [b"ropes"]
    store = Store(other)
    await store.open()
    assert len(await ids(store.database, 1, "halyard")) == 1
    keyring = Keyring(Keys(store.database, other.key_secret), local_only=True)
    assert await keyring.holder(f"Bearer {key}") == "ben"
    await store.close()
    assert not list(other.home.glob(".backup-*"))


async def test_a_backup_while_others_write_is_one_state(home: Settings, tmp_path: Path) -> None:
    store = Store(home)
    await store.open()
    done = threading.Event()

    async def write() -> None:
        """Pairs of messages, each pair in a transaction; files attached and removed."""
        number = 1
        while not done.is_set():
            sha256 = blob(home, b"%d" % number)
            await attach(store.database, 1, 10 + number, sha256)
            async with store.database.writing() as connection:
                for _ in range(2):
                    number += 1
                    values = {"chat_id": 1, "number": number, "role": "user", "content": "x" * 5000}
                    await connection.execute(insert(Message).values(**values, state="complete", created_at=NOW))
            async with store.database.writing() as connection:
                await connection.execute(text("DELETE FROM files WHERE sha256 = :it"), {"it": sha256})
            (home.files_dir / sha256[:2] / sha256).unlink()

    async def backups() -> None:
        try:
            for number in range(8):
                await asyncio.to_thread(back_up, home, tmp_path / f"{number}.tar")
                await asyncio.sleep(0.05)
        finally:
            done.set()

    await asyncio.gather(write(), backups())
    await store.close()
    counts = []
    for number in range(8):
        other = Settings(tmp_path / f"other-{number}")
        restore(other, tmp_path / f"{number}.tar")
        async with opened(other) as database, database.reading() as connection:
            numbers = list((await connection.execute(select(Message.number).order_by(Message.number))).scalars())
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) % 2 == 1
        counts.append(len(numbers))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_only_a_home_without_chats_takes_a_backup(home: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar"
    back_up(home, archive)
    with pytest.raises(Conflict, match="already"):
        back_up(home, archive)
    with pytest.raises(Conflict, match="already"):
        restore(home, archive)
    for name in ("files/ab/x", "keys.secret"):
        other = Settings(tmp_path / name.replace("/", "-"))
        (other.home / name).parent.mkdir(parents=True)
        (other.home / name).write_text("there")
        with pytest.raises(Conflict, match="already"):
            restore(other, archive)


def test_nothing_to_back_up_and_postgresql_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no database"):
        back_up(Settings(tmp_path), tmp_path / "backup.tar")
    for work in (back_up, restore):
        with pytest.raises(ConfigError, match="PostgreSQL"):
            work(Settings(tmp_path, database="postgresql://host/name"), tmp_path / "backup.tar")


def repacked(archive: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    with tarfile.open(archive) as tar:
        members = [(member.name, tar.extractfile(member)) for member in tar]
        contents = [(name, file.read()) for name, file in members if file is not None]
    with tarfile.open(archive, "w") as tar:
        for name, data in contents:
            if (changed := change(name, data)) is not None:
                member = tarfile.TarInfo(changed[0])
                member.size = len(changed[1])
                tar.addfile(member, io.BytesIO(changed[1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: ("../" + name, data) if name == "fairlead.db" else (name, data),
        lambda name, data: ("/tmp/x" if name == "fairlead.db" else name, data),
        lambda name, data: (name, data + b"x" if name.startswith("files/") else data),
        lambda name, data: None if name.startswith("files/") else (name, data),
        lambda name, data: None if name == "fairlead.db" else (name, data),
        lambda name, data: None if name == "backup.json" else (name, data),
        lambda name, data: (name, data[:8000] + b"\xff" * 3000 + data[11000:] if name == "fairlead.db" else data),
    ],
)
def test_a_damaged_archive_is_refused_and_leaves_nothing(
    home: Settings, tmp_path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]
) -> None:
    archive, other = tmp_path / "backup.tar", Settings(tmp_path / "other")
    back_up(home, archive)
    repacked(archive, change)
    with pytest.raises(FairleadError):
        restore(other, archive)
    assert list(other.home.iterdir()) == []


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
def test_an_archive_that_is_cut_short_is_refused(home: Settings, tmp_path: Path, share: float) -> None:
    archive, other = tmp_path / "backup.tar", Settings(tmp_path / "other")
    back_up(home, archive)
    with archive.open("r+b") as file:
        file.truncate(int(archive.stat().st_size * share))
    with pytest.raises(InvalidRequest, match=r"no backup|damaged"):
        restore(other, archive)
    assert list(other.home.iterdir()) == []


def test_a_backup_that_cannot_be_written_leaves_nothing(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(FairleadError, match="No such file"):
        back_up(home, tmp_path / "none" / "backup.tar")
    assert not list(home.home.glob(".backup-*"))
