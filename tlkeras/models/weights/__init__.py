"""Weights of backbones: files are found, read and matched to layers, with a report."""
