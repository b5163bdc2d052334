"""What many people at once get from a server, measured over HTTP: scenarios with targets, and a load generator."""
