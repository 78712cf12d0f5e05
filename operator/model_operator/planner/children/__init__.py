"""The child objects: their owners, and the writes that bring them to the revision that should run."""
