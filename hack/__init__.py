"""Tools of the repository: they make and check files, and are no part of the operator."""
