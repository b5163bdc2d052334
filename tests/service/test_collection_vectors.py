"""Who changes a collection, one after another; its vectors are tested with collections."""

from __future__ import annotations

import weakref
from pathlib import Path

from fairlead.service.collection_vectors import CollectionVectors
from fairlead.storage.database import Database


async def test_a_collection_has_one_lock_for_as_long_as_somebody_has_it(tmp_path: Path) -> None:
    vectors = CollectionVectors(Database.at(tmp_path / "never-opened.db"))
    async with vectors.changing(1):
        assert vectors.changing(1).locked()
        assert not vectors.changing(2).locked()
    lock = vectors.changing(1)
    assert vectors.changing(1) is lock
    assert not lock.locked()
    left = weakref.ref(lock)
    del lock
    assert left() is None
