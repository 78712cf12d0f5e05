"""What is generated from the sources and committed: `python -m hack.generators` writes it, `--check` compares."""
