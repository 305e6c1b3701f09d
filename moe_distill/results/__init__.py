"""Rows of results, and what they say."""
