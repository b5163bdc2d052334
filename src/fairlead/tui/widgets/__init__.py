"""Parts of screens: they post typed messages and know nothing of the server."""
