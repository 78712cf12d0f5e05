"""What the operator's image is made of, and what is known against it."""
