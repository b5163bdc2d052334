"""The HTTP edge: schemas, checks at the door, errors, server-sent events, and the routes of two dialects."""
