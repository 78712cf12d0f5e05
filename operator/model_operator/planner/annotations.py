"""A person's requests: annotations of the ModelDeployment, answered in ``status.handledRequests``.

``retry`` and ``restart`` are heard once for each new value; ``revert`` holds for as long as it is there; ``adopt``
names what may be taken over. Nothing is ever written back to the annotations.
"""

from __future__ import annotations

from collections.abc import Mapping

from model_operator.api import names
from model_operator.domain.world import World

VALUE_LIMIT = 256
"""How much of a request's value is compared and answered; the CRD allows no more in the status."""

_ANNOTATIONS = {
    "retry": names.REQUEST_RETRY,
    "restart": names.REQUEST_RESTART,
    "revert": names.REQUEST_REVERT,
    "adopt": names.REQUEST_ADOPT,
}


def read_request(world: World, request: str) -> str:
    """The present value of a request; empty when there is none."""
    return str(world.annotations.get(_ANNOTATIONS[request], "")).strip()[:VALUE_LIMIT]


def read_handled(world: World) -> dict[str, str]:
    """The values that were answered, by request, as the status has them.

    A status that was lost (a restore from backup keeps annotations) has answered what stands there: else old
    requests would be heard again, and what was rejected since would be tried again.
    """
    if "observedGeneration" not in world.status and world.children.revisions:
        return {request: value for request in _ANNOTATIONS if (value := read_request(world, request))}
    found = world.status.get("handledRequests")
    answers = found if isinstance(found, Mapping) else {}
    return {str(request): value for request, value in answers.items() if isinstance(value, str)}


def read_unanswered(world: World, request: str) -> str:
    """The value of a request that was not answered yet; empty when there is none."""
    value = read_request(world, request)
    return "" if value == read_handled(world).get(request) else value


def read_adoptions(world: World) -> tuple[str, ...]:
    """The objects that a person allows us to take over, such as ``Service/churn``."""
    return tuple(part.strip() for part in read_request(world, "adopt").split(",") if part.strip())
