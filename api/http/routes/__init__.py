"""The routes, one small module per part of the domain."""
