"""The process: it starts everything, elects the replica that leads, and ends when a part is lost."""
