"""MLflow's webhooks as a hint: the operator uses only the name of the model and ignores the rest.

A delivery that is signed, fresh and new triggers a poll of its model, and the registry's answer decides. A lost
delivery therefore costs a poll interval and a forged or repeated one a request, but none leads to a wrong version.
"""

from model_operator.webhooks.receiver import receive

__all__ = ["receive"]
