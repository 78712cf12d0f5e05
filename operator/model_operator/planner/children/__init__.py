"""The child objects: their owners, and the writes that make them run the right revision."""
