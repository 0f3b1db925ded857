"""Where a backbone can be cut in two, what trains behind the cut, and how inputs pass the frozen part."""
