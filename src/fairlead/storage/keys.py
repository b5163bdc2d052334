"""Access keys as rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.storage.tables import Key, Person


class KeyRow(NamedTuple):
    """What is known of a key."""

    id: int
    person: str
    digest: bytes
    hint: str
    label: str
    created_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


async def every(connection: AsyncConnection) -> list[KeyRow]:
    """All keys, revoked ones too, in the order in which they were made."""
    rows = await connection.execute(
        select(Key.id, Person.name, Key.digest, Key.hint, Key.label, Key.created_at, Key.used_at, Key.revoked_at)
        .join(Person)
        .order_by(Key.id)
    )
    return [KeyRow(*row) for row in rows]


async def add(connection: AsyncConnection, person_id: int, digest: bytes, hint: str, label: str) -> int:
    """A new key's id."""
    made = insert(Key).values(person_id=person_id, digest=digest, hint=hint, label=label, created_at=datetime.now(UTC))
    return (await connection.execute(made.returning(Key.id))).scalar_one()


async def revoke(connection: AsyncConnection, key_id: int) -> bool:
    """Whether there was such a key, valid until now."""
    revoked = update(Key).where(Key.id == key_id, Key.revoked_at.is_(None)).values(revoked_at=datetime.now(UTC))
    return (await connection.execute(revoked)).rowcount > 0


async def clear(connection: AsyncConnection) -> int:
    """Delete every key; how many there were."""
    return (await connection.execute(delete(Key))).rowcount


async def note_use(connection: AsyncConnection, key_ids: Iterable[int]) -> None:
    """Remember that these were used now."""
    await connection.execute(update(Key).where(Key.id.in_(list(key_ids))).values(used_at=datetime.now(UTC)))
