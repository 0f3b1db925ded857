"""Transfer without gradient steps: classical learners on frozen features, and maps of feature spaces."""
