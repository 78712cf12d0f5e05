"""The main job on a real cluster, to watch: ``python -m tests.demo``."""
