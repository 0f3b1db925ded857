"""Where weights come from: files found, read, matched to layers, and what became of each."""
