"""Generators of committed files. `python -m hack.generators` writes them, `--check` compares them."""
