"""Where and on what a run works."""
