"""One ModelDeployment after the other: observe, plan, report, act. And the things that feed it."""
