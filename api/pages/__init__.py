"""The web page: one arena at a block, rendered on the server; it works without any script."""
