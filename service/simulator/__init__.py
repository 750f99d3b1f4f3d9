"""A stateful Stripe look-alike on loopback, for the demo, the tests and the bench."""
