"""The collection that comes with the server, by which search can be tried from the first minute: things people ask of.

Written for this project. Its rows lie in `topics.csv`, and are put into the database where they are not, or are another
version's. They are embedded when somebody searches them first: it takes a second, and a model that not everybody needs.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Final

import msgspec

from fairlead.storage import collections
from fairlead.storage.database import Database

NAME: Final = "topics"
_FILE: Final = Path(__file__).with_name("topics.csv")
_TEXT: Final = "description"


async def put_in_place(database: Database, model: str) -> None:
    """See that the topics are there, to be embedded by this model."""
    data = _FILE.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    async with database.writing() as connection:
        there = None
        for found in await collections.builtin(connection):
            if (found.name, found.digest) == (NAME, digest):
                there = found
            else:
                await collections.remove(connection, found.id)
        if there is not None:
            if there.model != model:
                await collections.remove_vectors(connection, there, model)
            return
        names, *rows = csv.reader(data.decode().splitlines())
        added = await collections.add(
            connection,
            None,
            name=NAME,
            model=model,
            columns=[{"name": name, "type": "text"} for name in names],
            text_column=_TEXT,
            text_column_guessed=False,
            source=None,
            digest=digest,
        )
        contents = [msgspec.json.encode(row).decode() for row in rows]
        await collections.add_rows(connection, added, contents, size_bytes=len(data), skipped=0)
