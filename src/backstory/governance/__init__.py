"""Who may see what, and on which record."""
