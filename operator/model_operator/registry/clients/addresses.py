"""Resolves the host name of a tenant's registry, and rejects addresses of this machine and of the cloud itself.

Each request resolves the name once and connects to that address, so a second look-up can't return another one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host name and a port, and returns addresses as texts. Raises OSError."""

# IPv6 networks whose addresses contain an IPv4 address in their last 32 bits, or in bits 16 to 48
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# the metadata service of AWS by IPv6, which is in no reserved network
_METADATA = ipaddress.ip_address("fd00:ec2::254")


class RefusedAddressError(ValueError):
    """The name resolves to a forbidden address. The text names it and its kind."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a name from the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


async def find_permitted_address(host: str, port: int, look_up: LookUp = look_up) -> str:
    """The first address of ``host``. Raises RefusedAddressError if any address is forbidden, and OSError."""
    addresses = await look_up(host, port)
    if not addresses:
        raise OSError(f"{host} has no address")
    for text in addresses:
        if kind := explain_address(text):
            raise RefusedAddressError(f"{host} is {text}, {kind}")
    return addresses[0]


def explain_address(text: str) -> str:
    """The kind of a forbidden address, or an empty text for a permitted one."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _inner(address) or address
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local or address == _METADATA:
        return "a link-local address, where clouds keep credentials"
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return "not the address of a server"
    return ""


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
