"""Why no node has room for a pod: the scheduler's message in plain words, with the pod's requests."""

from __future__ import annotations

import re

from model_operator.domain.objects import Pod

_LONGEST = 2000
"""Characters that are read of the scheduler's message. It has one part per kind of obstacle, usually a few hundred."""
_PREEMPTION = re.compile(r"(?:\. no new claims to deallocate,?)? preemption:")
"""The end of the message, which the scheduler's plug-ins add about preemption. Kubernetes 1.36 adds the first part."""
_COUNTED = re.compile(r"0/(\d+) nodes are available: (.*)")
_NEXT_PART = re.compile(r", (?=\d+ )")
_PART = re.compile(r"(\d+) (.+)")
_TOO_LITTLE = re.compile(r"Insufficient (\S+)")
_TAINT = re.compile(r"node\(s\) had untolerated taint(?:\(s\))?\s*(\{.*\})?")

_OBSTACLES = {
    "node(s) didn't match Pod's node affinity/selector": (
        "does not match pod.nodeSelector or pod.affinity",
        "do not match pod.nodeSelector or pod.affinity",
    ),
    "node(s) were unschedulable": ("is cordoned", "are cordoned"),
    "Too many pods": ("has reached its limit of pods", "have reached their limit of pods"),
    "node(s) didn't match pod topology spread constraints": (
        "does not fit pod.topologySpreadConstraints",
        "do not fit pod.topologySpreadConstraints",
    ),
    "node(s) didn't match pod anti-affinity rules": (
        "does not fit the anti-affinity in pod.affinity",
        "do not fit the anti-affinity in pod.affinity",
    ),
}
"""The scheduler's words for an obstacle, with plain words for one node and for several."""


def describe_unschedulable(pod: Pod, scheduler: str) -> str:
    """Why no node has room for the pod, by the scheduler's message and the pod's requests. Quotes the message.

    Without a message, or with an unknown one, the text is shorter.
    """
    sentence = _PREEMPTION.split(scheduler[:_LONGEST])[0].strip().rstrip(".")
    if not sentence:
        return "no node has room for the pod"
    if sentence.startswith("no nodes available"):
        return f"no node has room for the pod: the cluster has no nodes ({sentence})"
    found = _COUNTED.match(sentence)
    if not found:
        return f"no node has room for the pod: {sentence}"
    total = int(found[1][:9])
    parts = [_PART.match(part) for part in _NEXT_PART.split(found[2])]
    described = [_in_words(int(part[1][:9]), part[2]) for part in parts if part]
    missing = [m[1] for part in parts if part and (m := _TOO_LITTLE.match(part[2]))]
    nodes = "of 1 node" if total == 1 else f"of {total} nodes"
    requests = [line for resource in missing if (line := _describe_requests(pod, resource))]
    return "; ".join(
        [
            f"no node has room for the pod: {nodes}, {', '.join(described)}",
            *requests,
            f"message of the scheduler: {sentence}",
        ]
    )


def _in_words(nodes: int, obstacle: str) -> str:
    one = nodes == 1
    if short := _TOO_LITTLE.match(obstacle):
        return f"{nodes} {'has' if one else 'have'} too little {short[1]} left"
    if taint := _TAINT.match(obstacle):
        which = f" ({taint[1]})" if taint[1] else ""
        return f"{nodes} {'has' if one else 'have'} a taint that pod.tolerations does not match{which}"
    if known := _OBSTACLES.get(obstacle):
        return f"{nodes} {known[0] if one else known[1]}"
    return f"{nodes}: {obstacle}"


def _describe_requests(pod: Pod, resource: str) -> str:
    """The request of each container for the resource. A sum would hide the request of a sidecar."""
    amounts = [
        f"{amount[:30]} for {requested.container[:63] or 'a container'}"
        for requested in pod.requests
        if (amount := requested.amounts.get(resource, "")) not in ("", "0")
    ]
    return f"the pod requests {resource}: {', '.join(amounts[:5])}" if amounts else ""
