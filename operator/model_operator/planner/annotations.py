"""A person's requests: annotations of the ModelDeployment, confirmed in ``status.handledRequests``.

``retry`` and ``restart`` are handled once for each new value. ``revert`` holds as long as the annotation exists.
``adopt`` names the objects that may be taken over. The operator never writes to these annotations.
"""

from __future__ import annotations

from collections.abc import Mapping

from model_operator.api import names
from model_operator.domain.world import World

VALUE_LIMIT = 256
"""Characters of a request's value that are compared and confirmed. The CRD allows no more in the status."""

_ANNOTATIONS = {
    "retry": names.REQUEST_RETRY,
    "restart": names.REQUEST_RESTART,
    "revert": names.REQUEST_REVERT,
    "adopt": names.REQUEST_ADOPT,
}


def read_request(world: World, request: str) -> str:
    """The present value of a request, or an empty string."""
    return str(world.annotations.get(_ANNOTATIONS[request], "")).strip()[:VALUE_LIMIT]


def read_handled(world: World) -> dict[str, str]:
    """The handled values in the status, by request.

    If the status was lost (a restore from backup keeps the annotations), all present values count as handled.
    Otherwise old requests would be handled again, and a version that was rejected since would be retried.
    """
    if "observedGeneration" not in world.status and world.children.revisions:
        return {request: value for request in _ANNOTATIONS if (value := read_request(world, request))}
    found = world.status.get("handledRequests")
    answers = found if isinstance(found, Mapping) else {}
    return {str(request): value for request, value in answers.items() if isinstance(value, str)}


def read_unanswered(world: World, request: str) -> str:
    """The value of a request that was not handled yet, or an empty string."""
    value = read_request(world, request)
    return "" if value == read_handled(world).get(request) else value


def read_adoptions(world: World) -> tuple[str, ...]:
    """The objects that a person allows the operator to take over, such as ``Service/churn``."""
    return tuple(part.strip() for part in read_request(world, "adopt").split(",") if part.strip())
