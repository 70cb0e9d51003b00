"""The HTTP face: read-only JSON over the queries, and the server that carries it and the page."""
