"""Methods of transfer: terms, which a stage adds to the class loss, and probes, which need no gradient."""
