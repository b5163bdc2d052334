from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from fairlead.errors import ConfigError
from fairlead.storage.database import Database
from fairlead.storage.migrate import migrate
from fairlead.storage.tables import Base
from tests.databases import PostgreSQL


def _differences(connection: Connection) -> list[object]:
    def counts(item: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
        return not (name or "").startswith("search_")  # the index, of which tables.py knows nothing

    options = {"compare_type": True, "compare_server_default": True, "include_object": counts}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


async def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    async with database.reading() as connection:
        assert await connection.run_sync(_differences) == []


async def test_the_comparison_sees_differences(database: Database) -> None:
    async with database.writing() as connection:
        await connection.execute(text("ALTER TABLE messages ADD COLUMN extra TEXT"))
        await connection.execute(text("DROP INDEX ix_files_state"))
    async with database.reading() as connection:
        assert len(await connection.run_sync(_differences)) == 2


async def _names(database: Database) -> list[str]:
    query = "SELECT name FROM sqlite_master" if database.is_sqlite else "SELECT tablename FROM pg_tables"
    async with database.reading() as connection:
        return list((await connection.execute(text(query))).scalars())


@pytest.fixture
async def empty(database_server: PostgreSQL | None, tmp_path: Path) -> Path | str:
    """Where a database is that nobody has written to."""
    return tmp_path / "new? 100%.db" if database_server is None else await database_server.create()


async def test_several_who_migrate_at_once_make_it_one_time(empty: Path | str) -> None:
    databases = [Database.at(empty) for _ in range(4)]
    await asyncio.gather(*map(migrate, databases))
    assert "messages" in await _names(databases[0])
    for database in databases:
        await migrate(database)
        await database.close()


async def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = await _names(database)
    with pytest.raises(ConfigError, match="newer version"):
        await migrate(database)
    assert await _names(database) == before
