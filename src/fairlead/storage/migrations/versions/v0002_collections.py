"""Collections, their rows and the vectors of these."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "collections",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person_id", sa.Integer),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("text_column", sa.Text, nullable=False),
        sa.Column("text_column_guessed", sa.Boolean, nullable=False),
        sa.Column("source", sa.JSON),
        sa.Column("digest", sa.String(64)),
        sa.Column("last_row", sa.Integer, nullable=False),
        sa.Column("embedded_through", sa.Integer, nullable=False),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("embedded_count", sa.Integer, nullable=False),
        sa.Column("skipped_count", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.UniqueConstraint("person_id", "name", name="uq_collections_person_id_name"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_collections_person_id", ondelete="CASCADE"),
    )
    op.create_table(
        "collection_rows",
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "number", name="pk_collection_rows"),
        _of_collection("collection_rows"),
    )
    op.create_table(
        "collection_vectors",
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("last", sa.Integer, nullable=False),
        sa.Column("numbers", sa.LargeBinary, nullable=False),
        sa.Column("vectors", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "first", name="pk_collection_vectors"),
        _of_collection("collection_vectors"),
    )


def _of_collection(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_collection_id"
    return sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name=name, ondelete="CASCADE")
