"""Postgres: the schema, its queries, the writer, and the embedded server."""
