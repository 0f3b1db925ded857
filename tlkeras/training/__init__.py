"""Stages, their optimizers, and the trainer that runs them."""
