"""A real Kubernetes for the tests and the demo: kind where Docker answers, otherwise a node of our own.

`python -m tests.cluster --help` shows what a person can do with it; `control_plane.ControlPlane` is the small
one (etcd and kube-apiserver only) for tests that need no pods.
"""
