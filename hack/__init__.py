"""Tools of the repository that generate and check files. The operator does not use them."""
