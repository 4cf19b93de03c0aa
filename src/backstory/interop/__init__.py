"""Other systems' languages."""
