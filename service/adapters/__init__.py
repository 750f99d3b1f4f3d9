"""The outside world: Stripe, Postgres, HTTP, clocks, logs."""
