"""Transfer without gradient steps: classical learners on frozen features, maps between feature spaces."""
