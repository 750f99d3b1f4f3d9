"""What refunds are and what has been read of them: values and rules, without input or output."""
