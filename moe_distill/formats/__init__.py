"""Distilled sets as other programs store them: readers and writers of their files."""
