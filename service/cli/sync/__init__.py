"""Commands that read refunds from Stripe, or cancel one."""
