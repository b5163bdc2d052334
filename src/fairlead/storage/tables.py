"""The schema, as SQLAlchemy sees it. `migrations/` makes it; a test holds the two equal.

Ids of rows never leave the server: people know a chat by its number among their own, a message and a file by theirs
within its chat. A number is never used twice, so each parent counts what it gave out.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Role = Literal["system", "user", "assistant"]
MessageState = Literal["generating", "complete", "cut_off"]
FileState = Literal["parsing", "ready", "failed"]
Titled = Literal["nobody", "model", "person"]
Overflow = Literal["error", "drop_oldest", "summarize"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """A time in UTC, kept as whole microseconds since 1970: both databases order and compare these alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """To what is stored; a time without its zone is a mistake of ours."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a time without its zone"
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From what is stored."""
        return None if value is None else _EPOCH + value * _MICROSECOND


class Base(DeclarativeBase):
    """Of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's way to say it
        datetime: Moment,
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
        Role: Enum("system", "user", "assistant", native_enum=False, length=16),
        MessageState: Enum("generating", "complete", "cut_off", native_enum=False, length=16),
        FileState: Enum("parsing", "ready", "failed", native_enum=False, length=16),
        Titled: Enum("nobody", "model", "person", native_enum=False, length=16),
        Overflow: Enum("error", "drop_oldest", "summarize", native_enum=False, length=16),
    }


def _parent(column: str, **options: Any) -> Mapped[int]:
    """A reference to the row that this one belongs to, and ends with."""
    return mapped_column(ForeignKey(column, ondelete="CASCADE"), **options)


class Person(Base):
    """Somebody who uses the server."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(256), unique=True)
    last_chat: Mapped[int] = mapped_column(Integer, default=0)
    """The number that was given to a chat last."""
    created_at: Mapped[datetime]


class Key(Base):
    """An access key, of which only a keyed hash is kept."""

    __tablename__ = "keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = _parent("people.id", index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(64), unique=True)
    hint: Mapped[str] = mapped_column(String(16))
    """How it begins, by which people tell their keys apart."""
    label: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Usage(Base):
    """What a person had of the models on one day (UTC), in tokens."""

    __tablename__ = "usage"

    person_id: Mapped[int] = _parent("people.id", primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    completion_tokens: Mapped[int] = mapped_column(BigInteger, default=0)


class Chat(Base):
    """A conversation of a person's: a tree of messages, and the leaf that is shown."""

    __tablename__ = "chats"
    __table_args__ = (UniqueConstraint("person_id", "number"), Index(None, "person_id", "updated_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = _parent("people.id")
    number: Mapped[int]
    """What the person calls it: `chat_id`."""
    title: Mapped[str] = mapped_column(String(200), default="")
    titled_by: Mapped[Titled] = mapped_column(default="nobody")
    system: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(String(200))
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Generation fields that its requests leave open."""
    on_overflow: Mapped[Overflow] = mapped_column(default="drop_oldest")
    leaf_id: Mapped[int | None] = mapped_column(
        ForeignKey("messages.id", name="fk_chats_leaf_id", ondelete="SET NULL", use_alter=True), index=True
    )
    """The last message of the branch that is shown."""
    last_message: Mapped[int] = mapped_column(default=0)
    """The number that was given to a message last."""
    last_file: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Reservation(Base):
    """A number that was given out for a chat, which is made when somebody writes under it."""

    __tablename__ = "reservations"

    person_id: Mapped[int] = _parent("people.id", primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Message(Base):
    """One turn. Its siblings, of the same parent, are other versions of it."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("chat_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int] = _parent("chats.id")
    number: Mapped[int]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    role: Mapped[Role]
    content: Mapped[str] = mapped_column(Text)
    state: Mapped[MessageState] = mapped_column(index=True)
    """An answer is `generating` until it has ended; `cut_off` where the server ended before it."""
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    model: Mapped[str | None] = mapped_column(String(200))
    report: Mapped[dict[str, Any] | None]
    """What is told with an answer: usage, timing, what the context left out, sources."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Summary(Base):
    """What stands for the older part of a branch where all of it does not fit the model."""

    __tablename__ = "summaries"

    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int] = _parent("chats.id", index=True)
    through_id: Mapped[int] = _parent("messages.id", index=True)
    """The last message that it tells of; it tells of all before this one too."""
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class File(Base):
    """A file attached to a chat; its bytes lie in the data directory, by their SHA-256."""

    __tablename__ = "files"
    __table_args__ = (UniqueConstraint("chat_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    chat_id: Mapped[int] = _parent("chats.id")
    number: Mapped[int]
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(32))
    """What it is parsed as: pdf, docx, markdown, python..."""
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[FileState] = mapped_column(index=True)
    error: Mapped[str | None] = mapped_column(Text)
    """Why it could not be read, or what of it holds no text."""
    pages: Mapped[int | None]
    characters: Mapped[int | None]
    created_at: Mapped[datetime]


class Passage(Base):
    """A part of a file's text, cut along its structure."""

    __tablename__ = "passages"
    __table_args__ = (UniqueConstraint("file_id", "ordinal"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = _parent("files.id")
    ordinal: Mapped[int]
    heading: Mapped[str] = mapped_column(Text, default="")
    """The headings above it, or the function or class that it is of."""
    text: Mapped[str] = mapped_column(Text)
    """Whole: the texts of a file's passages, put together, are the file's text."""
    page: Mapped[int | None]
    line_from: Mapped[int | None]
    line_to: Mapped[int | None]
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    """float32, little endian, of length 1; None until it is computed."""
    embedded_by: Mapped[str | None] = mapped_column(String(200))
    """The model's name: vectors of different models are not compared."""


class Collection(Base):
    """Rows of a table that are found by what a column of theirs says."""

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("person_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    """None where it comes with the server, for everybody."""
    name: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(200))
    """Whose vectors are compared: another model's are not."""
    columns: Mapped[list[dict[str, Any]]]
    """The name and the type of each, in the order of a row's values."""
    text_column: Mapped[str] = mapped_column(Text)
    text_column_guessed: Mapped[bool]
    source: Mapped[dict[str, Any] | None]
    """The file that it was made from, and how that was read."""
    digest: Mapped[str | None] = mapped_column(String(64))
    """Of what comes with the server: another version's is put in its place."""
    last_row: Mapped[int] = mapped_column(default=0)
    """The number that was given to a row last."""
    embedded_through: Mapped[int] = mapped_column(default=0)
    """Rows up to this number have their vector, where they have a text."""
    row_count: Mapped[int] = mapped_column(default=0)
    embedded_count: Mapped[int] = mapped_column(default=0)
    skipped_count: Mapped[int] = mapped_column(default=0)
    """Rows without a text."""
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of its rows and vectors."""
    error: Mapped[str | None] = mapped_column(Text)
    """Why its rows could not be embedded."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class CollectionRow(Base):
    """A row of a collection."""

    __tablename__ = "collection_rows"

    collection_id: Mapped[int] = _parent("collections.id", primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[str] = mapped_column(Text)
    """Its values in the order of the columns, a list in JSON."""


class CollectionVectors(Base):
    """The vectors of some rows that follow each other: a hundred thousand rows are read as a few hundred of these."""

    __tablename__ = "collection_vectors"

    collection_id: Mapped[int] = _parent("collections.id", primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The number of the first row that these were made for."""
    last: Mapped[int]
    numbers: Mapped[bytes] = mapped_column(LargeBinary)
    """int32, little endian: the rows' numbers, rising."""
    vectors: Mapped[bytes] = mapped_column(LargeBinary)
    """float16, little endian: a vector of length 1 for each."""
