"""From the bytes of Stripe's objects to values: checked, masked, hashed, rendered."""
