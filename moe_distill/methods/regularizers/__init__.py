"""Terms that any method carries."""
