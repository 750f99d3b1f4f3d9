"""The simulated account: its objects, and how they change."""
