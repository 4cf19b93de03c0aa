"""Measurements of the figures the project promises, beside the floors of the same machine, in one run."""
