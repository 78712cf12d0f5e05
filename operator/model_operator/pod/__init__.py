"""The scripts that run in the serving pods: package data here, processes of their own there.

Nothing imports them. They stand alone on the standard library and MLflow, because they run in images that
have no model_operator.
"""
