"""Check values against annotations: what parameters accept, and whether a value fits."""
