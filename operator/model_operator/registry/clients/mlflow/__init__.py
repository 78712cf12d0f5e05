"""The client of an MLflow server: its API, its records, a version's files and runs."""
