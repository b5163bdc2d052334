"""The command line: thin commands over the client and the server, one file for each group."""
