"""Matching losses that several methods share, as functions of tensors."""
