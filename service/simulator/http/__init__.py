"""The simulator's HTTP side: endpoints, lists, limits, faults, control."""
