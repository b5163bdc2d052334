"""People and their keys, chats, messages, files and passages, and the index that searches them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    _people()
    _chats()
    _files()
    if op.get_context().dialect.name == "sqlite":
        for statement in _SQLITE_SEARCH:
            op.execute(statement)
    else:
        op.create_foreign_key("fk_chats_leaf_id", "chats", "messages", ["leaf_id"], ["id"], ondelete="SET NULL")
        for statement in _POSTGRESQL_SEARCH:
            op.execute(statement)


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("last_chat", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.UniqueConstraint("name", name="uq_people_name"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_keys_person_id", ondelete="CASCADE"),
    )
    op.create_index("ix_keys_person_id", "keys", ["person_id"])
    op.create_table(
        "usage",
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("person_id", "day", name="pk_usage"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_usage_person_id", ondelete="CASCADE"),
    )


def _chats() -> None:
    op.create_table(
        "chats",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("titled_by", sa.String(16), nullable=False),
        sa.Column("system", sa.Text),
        sa.Column("model", sa.String(200)),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("on_overflow", sa.String(16), nullable=False),
        sa.Column("leaf_id", sa.Integer),
        sa.Column("last_message", sa.Integer, nullable=False),
        sa.Column("last_file", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chats"),
        sa.UniqueConstraint("person_id", "number", name="uq_chats_person_id_number"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_chats_person_id", ondelete="CASCADE"),
        # In PostgreSQL it is added once there are messages, in SQLite it can only be made with its table.
        sa.ForeignKeyConstraint(
            ["leaf_id"], ["messages.id"], name="fk_chats_leaf_id", ondelete="SET NULL", use_alter=True
        ),
    )
    op.create_index("ix_chats_person_id_updated_at", "chats", ["person_id", "updated_at"])
    op.create_index("ix_chats_leaf_id", "chats", ["leaf_id"])
    op.create_table(
        "reservations",
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("person_id", "number", name="pk_reservations"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_reservations_person_id", ondelete="CASCADE"),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("chat_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("parent_id", sa.Integer),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("finish_reason", sa.String(16)),
        sa.Column("model", sa.String(200)),
        sa.Column("report", sa.JSON),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("chat_id", "number", name="uq_messages_chat_id_number"),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name="fk_messages_chat_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["parent_id"], ["messages.id"], name="fk_messages_parent_id", ondelete="CASCADE"),
    )
    op.create_index("ix_messages_parent_id", "messages", ["parent_id"])
    op.create_index("ix_messages_state", "messages", ["state"])
    op.create_table(
        "summaries",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("chat_id", sa.Integer, nullable=False),
        sa.Column("through_id", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_summaries"),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name="fk_summaries_chat_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["through_id"], ["messages.id"], name="fk_summaries_through_id", ondelete="CASCADE"),
    )
    op.create_index("ix_summaries_chat_id", "summaries", ["chat_id"])
    op.create_index("ix_summaries_through_id", "summaries", ["through_id"])


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("chat_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("pages", sa.Integer),
        sa.Column("characters", sa.Integer),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.UniqueConstraint("chat_id", "number", name="uq_files_chat_id_number"),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name="fk_files_chat_id", ondelete="CASCADE"),
    )
    op.create_index("ix_files_sha256", "files", ["sha256"])
    op.create_index("ix_files_state", "files", ["state"])
    op.create_table(
        "passages",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("file_id", sa.Integer, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("heading", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("line_from", sa.Integer),
        sa.Column("line_to", sa.Integer),
        sa.Column("embedding", sa.LargeBinary),
        sa.Column("embedded_by", sa.String(200)),
        sa.PrimaryKeyConstraint("id", name="pk_passages"),
        sa.UniqueConstraint("file_id", "ordinal", name="uq_passages_file_id_ordinal"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="fk_passages_file_id", ondelete="CASCADE"),
    )


# The index holds words alone (`content=''`), a row for each message that is whole and one, numbered 0, for each title.
# A row's id is the chat's id and the number together, so that a search reads neither messages nor chats; the owner is
# a word like the others, so that what other people wrote costs a search nothing. What is taken out must be said again,
# owner and all, so the rows of a chat go before the chat does: behind it, nobody knows whose they were. Beginnings of
# words are kept as well (of two and four letters SQLite finds by those of three and five): else a search for one puts
# together all places of all words that begin so, before it gives the first.
_SQLITE_SEARCH = (
    "CREATE VIRTUAL TABLE search_index USING fts5("
    "owner, words, content='', tokenize='unicode61 remove_diacritics 2', prefix='1 3 5')",
    """
    CREATE TRIGGER search_chat_added AFTER INSERT ON chats BEGIN
        INSERT INTO search_index(rowid, owner, words) VALUES (new.id << 31, new.person_id, new.title);
    END""",
    """
    CREATE TRIGGER search_chat_changed AFTER UPDATE OF title ON chats WHEN new.title <> old.title BEGIN
        INSERT INTO search_index(search_index, rowid, owner, words)
            VALUES ('delete', old.id << 31, old.person_id, old.title);
        INSERT INTO search_index(rowid, owner, words) VALUES (new.id << 31, new.person_id, new.title);
    END""",
    """
    CREATE TRIGGER search_chat_removed BEFORE DELETE ON chats BEGIN
        INSERT INTO search_index(search_index, rowid, owner, words)
            VALUES ('delete', old.id << 31, old.person_id, old.title);
        INSERT INTO search_index(search_index, rowid, owner, words)
            SELECT 'delete', old.id << 31 | number, old.person_id, content
            FROM messages WHERE chat_id = old.id AND state <> 'generating';
    END""",
    """
    CREATE TRIGGER search_message_added AFTER INSERT ON messages WHEN new.state <> 'generating' BEGIN
        INSERT INTO search_index(rowid, owner, words)
            SELECT new.chat_id << 31 | new.number, person_id, new.content FROM chats WHERE id = new.chat_id;
    END""",
    """
    CREATE TRIGGER search_message_changed AFTER UPDATE OF content, state ON messages
    WHEN new.content <> old.content OR new.state <> old.state BEGIN
        INSERT INTO search_index(search_index, rowid, owner, words)
            SELECT 'delete', old.chat_id << 31 | old.number, person_id, old.content
            FROM chats WHERE id = old.chat_id AND old.state <> 'generating';
        INSERT INTO search_index(rowid, owner, words)
            SELECT new.chat_id << 31 | new.number, person_id, new.content
            FROM chats WHERE id = new.chat_id AND new.state <> 'generating';
    END""",
    """
    CREATE TRIGGER search_message_removed AFTER DELETE ON messages WHEN old.state <> 'generating' BEGIN
        INSERT INTO search_index(search_index, rowid, owner, words)
            SELECT 'delete', old.chat_id << 31 | old.number, person_id, old.content
            FROM chats WHERE id = old.chat_id;
    END""",
)

# Marks of punctuation part words, as they do in SQLite, and accents are taken off. A vector has a greatest size, which
# no text of this many letters comes to.
_POSTGRESQL_SEARCH = (
    r"""
    CREATE FUNCTION search_words(text) RETURNS tsvector IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql RETURN
        to_tsvector('simple', left(
            normalize(
                regexp_replace(
                    normalize(translate($1, '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~', repeat(' ', 32)), NFD),
                    '[\u0300-\u036f]', '', 'g'
                ),
                NFC
            ),
            200000))
    """,
    "ALTER TABLE chats ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (search_words(title)) STORED",
    "ALTER TABLE messages ADD COLUMN search_vector tsvector "
    "GENERATED ALWAYS AS (CASE WHEN state <> 'generating' THEN search_words(content) END) STORED",
    "CREATE INDEX search_titles ON chats USING gin (search_vector)",
    "CREATE INDEX search_messages ON messages USING gin (search_vector)",
)
