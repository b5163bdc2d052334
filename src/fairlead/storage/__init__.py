"""What outlives the server: people, their chats and files, in SQLite or PostgreSQL.

`tables.py` is the schema, `migrations/` brings a database to it, `database.py` opens one, and a module for each
subject holds its statements. Knows nothing of models or HTTP; only `service` uses it.
"""
