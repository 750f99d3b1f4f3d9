"""Stripe's lists as the jobs read them: pages of refunds and events, hydrated."""
