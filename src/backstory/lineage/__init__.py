"""Questions about origin: sources, row references, groups, and the walk from a prediction to its rows and back."""
