"""The distilled set: its images, its provenance, and its files."""
