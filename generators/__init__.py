"""What is generated from the sources and committed: `python -m generators` writes it, `--check` compares."""
