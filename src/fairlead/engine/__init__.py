"""The engine: from token ids to token ids.

A worker process holds a model (`runner`), decides what each step computes (`scheduler`, `kv_cache`,
`request`) and runs the steps (`engine`, `worker`); the server speaks to it (`client`) in frames (`framing`)
of `messages`. Nothing here knows of text, users' names, HTTP or storage; the server uses `messages` and
`client` alone.
"""
