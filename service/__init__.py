"""Syncs Stripe refunds into Postgres, and proves which spans of time are complete."""
