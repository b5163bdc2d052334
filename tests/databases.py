"""Fresh databases for tests of all parts: SQLite, and a real PostgreSQL that the tests start and end themselves."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import text

from fairlead.storage.database import Database
from fairlead.storage.migrate import migrate


def _programs() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them out of PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return installed[-1].parent if installed else None


def _account() -> str | None:
    """Whom to run PostgreSQL as, which refuses root."""
    return "nobody" if os.getuid() == 0 else None


class PostgreSQL:
    """A server of our own, on a socket in a temporary folder, that forgets everything in the end."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._count = 0

    def start(self) -> None:
        """Make a cluster and serve it; without the syncs that only a crash of the machine would need."""
        if (account := _account()) is not None:
            shutil.chown(self._folder, account)
        self._run("initdb", "-D", "data", "-U", "tests", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "--no-sync")
        options = f"-k {self._folder} -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=200"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """End the server."""
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def url(self, name: str) -> str:
        """The URL of a database, as people write it."""
        return f"postgresql://tests@/{name}?host={self._folder}"

    async def create(self, template: str = "template0") -> str:
        """The URL of a new database, a copy of another."""
        self._count += 1
        name = f"fresh_{self._count}"
        database = Database.at(self.url("postgres"))
        async with database.engine.connect() as connection:
            outside = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await outside.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        await database.close()
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command, cwd=self._folder, user=_account(), env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running PostgreSQL."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (on Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="fairlead-pg-"))  # a short path: sockets' names have 107 bytes at most
    server = PostgreSQL(programs, folder)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: PostgreSQL) -> str:
    """The name of a database with all tables, to copy."""

    async def make() -> str:
        url = await postgresql.create()
        database = Database.at(url)
        await migrate(database)
        await database.close()
        return url

    return asyncio.run(make()).split("/")[3].split("?")[0]


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "fairlead.db"

    async def make() -> None:
        database = Database.at(path)
        await migrate(database)
        await database.close()

    asyncio.run(make())
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database that a test is run with."""
    return str(request.param)


@pytest.fixture
def database_server(kind: str, request: pytest.FixtureRequest) -> PostgreSQL | None:
    """The server that the test's databases are on; None for SQLite."""
    return None if kind == "sqlite" else request.getfixturevalue("postgresql")


@pytest.fixture
def migrated(database_server: PostgreSQL | None, request: pytest.FixtureRequest) -> Path | str:
    """The file, or the name on the server, of a database with all tables, to copy."""
    name = "migrated_sqlite" if database_server is None else "migrated_postgresql"
    return cast(Path | str, request.getfixturevalue(name))


@pytest.fixture
async def location(database_server: PostgreSQL | None, migrated: Path | str, tmp_path: Path) -> Path | str:
    """Where a fresh database with all tables is, for `Database.at`."""
    return (
        Path(shutil.copy(migrated, tmp_path))
        if database_server is None
        else await database_server.create(str(migrated))
    )


@pytest.fixture
async def database(location: Path | str) -> AsyncIterator[Database]:
    """A fresh database with all tables."""
    fresh = Database.at(location)
    yield fresh
    await fresh.close()
