"""Spans of Stripe's created time, and how they are read and proven."""
