"""Backstory: a provable backstory for every machine-learning prediction."""
