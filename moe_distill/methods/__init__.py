"""Distillation methods, one paper a file."""
