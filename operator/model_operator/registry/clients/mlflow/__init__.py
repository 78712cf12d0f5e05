"""The client of an MLflow server: the API, the records, and the files and runs of a version."""
