"""What a run shows elsewhere."""
