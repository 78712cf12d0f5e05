"""The wire that breaks leaves nothing behind, whenever it is cut."""

import contextlib
import gc
import socket

from tests.wire.wire import Wire


def test_an_outage_forgets_no_connection_that_was_just_accepted() -> None:
    # a forgotten socket warns when it is collected, and a warning is an error
    with Wire("http://127.0.0.1:9") as wire:
        for _ in range(30):
            with contextlib.ExitStack() as clients:
                for _ in range(20):
                    client = clients.enter_context(socket.socket())
                    client.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        client.connect(("127.0.0.1", wire.port))
                with wire.outage():
                    pass
            gc.collect()
