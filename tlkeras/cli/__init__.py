"""One module with absl flags per command. `main` selects it by name."""
