"""Reconciles ModelDeployments (observe, plan, report, act), and the parts that feed the reconciler."""
