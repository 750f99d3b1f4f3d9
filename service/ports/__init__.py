"""What the jobs need of the world, as small protocols; one module for each family."""
