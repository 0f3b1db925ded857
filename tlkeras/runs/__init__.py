"""Finished runs: described, opened, predicted with, searched for the nearest training images."""
