from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from fairlead.config import Settings
from fairlead.errors import ConfigError
from fairlead.service.store import Store


@pytest.fixture
def settings(location: Path | str, tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home", database=str(location))


async def test_opening_makes_a_folder_and_a_database(tmp_path: Path) -> None:
    store = Store(Settings(tmp_path / "new" / "home"))
    await store.open()
    await store.open()
    async with store.database.reading() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM messages"))).scalar() == 0
    await store.close()
    assert oct((tmp_path / "new" / "home").stat().st_mode)[-3:] == "700"


async def test_a_second_server_on_the_same_data_is_refused(settings: Settings) -> None:
    first, second = Store(settings), Store(settings)
    await first.open()
    for _ in range(2):
        with pytest.raises(ConfigError, match="Another server uses this database"):
            await second.open()
    async with first.database.writing() as connection:
        await connection.execute(text("INSERT INTO people (name, last_chat, created_at) VALUES ('anna', 0, 0)"))
    await first.close()
    await second.open()
    await second.close()


async def test_a_newer_database_is_refused(settings: Settings) -> None:
    store = Store(settings)
    async with store.database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer version"):
        await store.open()


@pytest.mark.parametrize("content", [b"This is no database at all. " * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fairlead.db").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be used"):
        await Store(Settings(tmp_path)).open()
    assert (tmp_path / "fairlead.db").read_bytes() == content


async def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    store = Store(Settings(tmp_path, database=f"postgresql://user:hidden@/none?host={tmp_path}"))
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        await store.open()
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize("folder", ["read-only", "file"])
def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    if folder == "file":
        home.write_text("in the way")
    else:
        home.mkdir(mode=0o500)
    program = f"""
import asyncio, os, pathlib
from fairlead.config import Settings
from fairlead.errors import ConfigError
from fairlead.service.store import Store
store = Store(Settings(pathlib.Path({str(home)!r})))
if os.getuid() == 0:
    os.seteuid(65534)  # root may write anywhere
try:
    asyncio.run(store.open())
except ConfigError as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("The data cannot be kept in"), done.stderr
