"""How ``kubectl model`` shows things: trees, tables, documents, the terminal."""
