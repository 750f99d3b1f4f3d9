"""Stripe: the client, its limits and retries, and the decoding of what it sends."""
