"""Makes everything that a run needs before it begins, as much as possible side by side."""

from tests.provision.jobs import ProvisionError, provision

__all__ = ["ProvisionError", "provision"]
