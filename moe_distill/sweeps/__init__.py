"""Sweeps of many runs: launching, cost forecasts, status and reports."""
