"""What leaves the house: evidence bundles for people who have neither the archive nor this package."""
