"""``kubectl model``: what a person (or a pipeline) asks of ModelDeployments, and sees of them.

What is shown is decided by pure functions (``outcome``, ``tree``, ``tables``, ``lint``, ``doctor.findings``); they get
objects and the time, and give back what a test can read. The rest talks to the cluster.
"""
