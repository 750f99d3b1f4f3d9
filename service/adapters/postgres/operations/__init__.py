"""Accounts, runs and the lease."""
