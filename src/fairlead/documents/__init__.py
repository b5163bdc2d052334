"""Files read as text: what they are, what they say, and where their text may be cut.

The reading happens in a process of its own, `process.py`, because files come from strangers and the libraries that read
them are large: it has limits on time, memory and expansion, no network, and nothing to lose. The server imports
`kinds.py`, `messages.py` and `client.py` alone, none of which reads more than a file's first and last bytes.
"""
