"""The terminal program: a client of the HTTP API, drawn with Textual."""
