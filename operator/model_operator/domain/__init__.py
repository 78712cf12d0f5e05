"""The words that all floors share: frozen values, and the readers of foreign JSON. All pure."""
