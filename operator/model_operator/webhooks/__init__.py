"""MLflow's webhooks as a hint: they say which model may have moved, and nothing else is believed of them.

A delivery that is signed, fresh and new wakes whoever follows its model; what became of the model the registry is
asked. So a lost, forged or repeated delivery costs a poll interval or a request, never a wrong version.
"""

from model_operator.webhooks.receiver import receive

__all__ = ["receive"]
