"""The output of ``kubectl model``: trees, tables, documents, and the terminal."""
