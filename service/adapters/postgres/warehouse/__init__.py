"""Writes batches of refunds, and compares what was read with what is stored."""
