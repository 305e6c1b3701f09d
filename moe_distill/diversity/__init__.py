"""Diversity of experts: measures of two feature matrices, and the features themselves."""
