"""Connections, the meaning of their failures, and transactions that are retried."""
