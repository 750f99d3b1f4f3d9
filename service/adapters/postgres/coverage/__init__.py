"""Claims: which spans of a list have been read, and what proves it."""
