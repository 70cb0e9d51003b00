"""The face: HTTP, pages and command line over the same queries, wired together in one place."""
