"""The embedded Postgres: its binaries, its settings, its process."""
