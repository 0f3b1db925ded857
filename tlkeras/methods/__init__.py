"""What a stage adds to the class loss, or does in its place: terms, which add up."""
