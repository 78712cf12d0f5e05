"""The dependencies of the operator's image and their known vulnerabilities."""
