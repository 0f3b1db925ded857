"""One absl program per command; `main` picks it by name."""
