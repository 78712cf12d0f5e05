"""``kubectl model``: the commands with which people and pipelines read and change ModelDeployments.

Pure functions in ``summary``, ``tree``, ``tables``, ``lint`` and ``doctor.findings`` turn objects and the time into the
output, and tests call them directly. The other modules read from the cluster and write to it.
"""
