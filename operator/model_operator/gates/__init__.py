"""What a version must pass before anything of it starts: an ordered chain of small pure functions."""
