"""Diversity of experts: the features of their images and measures that compare them."""
