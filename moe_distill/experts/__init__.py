"""The mixture: its experts, how they run together, and the diversity term between them."""
