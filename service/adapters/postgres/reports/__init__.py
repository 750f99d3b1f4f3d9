"""What people ask of the warehouse. Reads only."""
