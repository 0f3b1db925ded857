"""Finished runs: their description, predictions with them, and their nearest training images."""
