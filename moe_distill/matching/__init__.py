"""Distances between what real and synthetic images do to a network."""
