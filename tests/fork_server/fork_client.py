"""How a fork server is asked: also by programs that must start in no time, so little is imported here."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence

HEADER = struct.Struct("!I")
"""The length of the request that follows it as JSON."""


def pack(arguments: Sequence[str], environment: Mapping[str, str], directory: str, module: str) -> bytes:
    """A request for a process; without a module the first argument is the script that it runs."""
    request = {
        "arguments": arguments,
        "environment": dict(environment),
        "directory": directory,
        "module": module,
    }
    return json.dumps(request).encode()


def send(connection: socket.socket, request: bytes, outputs: tuple[int, int]) -> None:
    """Sends a request with the descriptors that become standard output and standard error."""
    socket.send_fds(connection, [HEADER.pack(len(request))], outputs)
    connection.sendall(request)


def run(path: str, module: str) -> int:
    """Has the module run with this process's arguments, environment, directory and outputs; its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        send(connection, pack([module, *sys.argv[1:]], os.environ, os.getcwd(), module), (1, 2))  # noqa: PTH109
        with connection.makefile() as answers:
            *_, last = answers
    code = int(json.loads(last)["code"])
    return code if code >= 0 else 128 - code
