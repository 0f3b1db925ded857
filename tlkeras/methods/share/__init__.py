"""Two tasks on one network."""
