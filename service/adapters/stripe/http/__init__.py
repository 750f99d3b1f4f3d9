"""One request to Stripe: limits, retries, transport, errors."""
