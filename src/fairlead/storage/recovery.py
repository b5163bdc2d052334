"""What a start of the server puts right that the end of the one before left undone."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import update

from fairlead.storage.database import Database
from fairlead.storage.tables import Message


async def cut_off_unfinished(database: Database) -> int:
    """Mark answers that were being generated as cut off, with what there is of them; how many there were."""
    async with database.writing() as connection:
        result = await connection.execute(
            update(Message)
            .where(Message.state == "generating")
            .values(state="cut_off", finish_reason="error", finished_at=datetime.now(UTC))
        )
    return result.rowcount
