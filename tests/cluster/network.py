"""Free ports and free address ranges of this machine."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

CANDIDATES = [IPv4Network(f"10.{second}.0.0/16") for second in range(180, 250)]


def free_ports(count: int) -> list[int]:
    """That many different loopback TCP ports which nobody listens on at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class NoFreeSubnetError(RuntimeError):
    """Every candidate range overlaps with a network that this machine uses."""


@dataclass(frozen=True)
class Subnets:
    """The address plan of one bare node, all inside one /16."""

    whole: IPv4Network

    @property
    def host(self) -> IPv4Address:
        """The host's end of the link to the node."""
        return self.whole[1]

    @property
    def node(self) -> IPv4Address:
        """The node's end: the API server, the kubelet and the add-ons listen there."""
        return self.whole[2]

    @property
    def link_prefix(self) -> int:
        return 30

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network((self.whole[256], 24))

    @property
    def services(self) -> IPv4Network:
        return IPv4Network((self.whole[128 * 256], 20))

    @property
    def dns(self) -> IPv4Address:
        return self.services[10]


def choose_subnets(used: Iterable[IPv4Network]) -> Subnets:
    """The first candidate range that touches no used one. Raises NoFreeSubnetError."""
    taken = list(used)
    for candidate in CANDIDATES:
        if not any(candidate.overlaps(network) for network in taken):
            return Subnets(candidate)
    raise NoFreeSubnetError(f"all of {CANDIDATES[0]} to {CANDIDATES[-1]} are in use on this machine")


def used_networks() -> list[IPv4Network]:
    """Every IPv4 network that this machine has an address in, a route to, or a nameserver in."""
    networks = []
    for route in _ip_json("route", "show", "table", "all"):
        if route.get("dst") not in (None, "default"):
            networks.append(IPv4Network(route["dst"], strict=False))
    for interface in _ip_json("address", "show"):
        for address in interface.get("addr_info", []):
            networks.append(IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False))
    for line in Path("/etc/resolv.conf").read_text().splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and ":" not in words[1]:
            networks.append(IPv4Network(words[1]))
    return networks


def _ip_json(*arguments: str) -> list[dict[str, Any]]:
    command = ["ip", "-4", "-json", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return list(json.loads(answer.stdout or "[]"))
