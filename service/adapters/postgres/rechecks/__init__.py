"""Known refunds that are to be read again: queued, hinted, due."""
