"""The engine: from token ids to token ids.

A worker process holds a model (`runner`), decides what each step computes (`scheduler`) and runs the steps
(`engine`, `worker`); the server speaks to it (`client`) in frames (`framing`) of `messages`. What the scheduler
decides from is a file each: a `request`, whose turn it is (`fairness`, `waiting`, `rotation`), pages and what
they hold (`kv_cache`, `prefix_tree`), time (`pace`, `budget`, `step`), guesses (`lookup`, `speculation`); what
others are told of it comes from `forecast` and `meter`. Nothing here knows of text, users' names, HTTP or storage;
the server uses `messages` and `client` alone.
"""
