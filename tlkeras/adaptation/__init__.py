"""Adaptation to an unlabelled target: methods, the model that trains them, and validators."""
