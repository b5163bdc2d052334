"""What Alembic runs to migrate: on the connection that `migrate.py` hands over, within its transaction."""

from alembic import context

from fairlead.storage.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
