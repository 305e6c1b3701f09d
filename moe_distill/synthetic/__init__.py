"""The distilled set: what it is, where it comes from, its files."""
