"""Brings a database to the schema of this version: forward only, all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from fairlead.errors import ConfigError
from fairlead.storage.database import Database

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_POSTGRESQL_LOCK: Final = 0x6661_6972_6C65_6164  # "fairlead"
"""The key of the advisory lock that one migration at a time holds."""


async def migrate(database: Database) -> None:
    """Make or change the tables as this version needs them; whoever comes second finds it done.

    Raises:
        ConfigError: a newer version of Fairlead has written the database, or it is not one of ours.
    """
    async with database.writing() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    scripts = ScriptDirectory(str(_SCRIPTS))
    here, newest = MigrationContext.configure(connection).get_current_revision(), scripts.get_current_head()
    if here == newest:
        return
    if here is not None and here not in {script.revision for script in scripts.walk_revisions()}:
        raise ConfigError(
            f"The database is of a newer version of Fairlead (its schema is {here}, this version knows {newest}): "
            "use that version, or restore a backup into another home folder."
        )
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
