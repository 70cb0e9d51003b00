"""The event store: schema, codec and recorder on SQLAlchemy Core."""
