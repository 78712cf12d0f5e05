"""Micro-batching: requests that arrive at about the same time are predicted together. A part of serve.py.

Only for models that answer row by row. The front collects the requests, and a worker joins their tables, predicts once
and divides the answer. A request that can't be joined is predicted by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_request import PREDICTION_PATH, Answer, Request
    from model_operator.pod.serve_slots import Limits, WorkerEndedError
else:
    from serve_request import PREDICTION_PATH
    from serve_slots import WorkerEndedError

JSON = "application/json"
# larger requests gain nothing, and a batch of them is a large message
MOST_BODY_BYTES = 256 * 1024


def can_be_batched(request: Request) -> bool:
    """Whether the request is a small prediction, as far as can be seen without reading its body."""
    return (
        request.path == PREDICTION_PATH
        and request.method == "POST"
        and request.headers.get("content-type") == JSON
        and len(request.body) <= MOST_BODY_BYTES
        and b'"stream"' not in request.body
    )


class Batcher:
    """Collects requests in the front. ``together`` answers several, ``alone`` a single one."""

    def __init__(
        self,
        limits: Limits,
        together: Callable[[list[Request]], Awaitable[list[Answer]]],
        alone: Callable[[Request, Callable[[], Awaitable[Any]]], Awaitable[Any]],
    ) -> None:
        self._limits = limits
        self._together = together
        self._alone = alone
        self._waiting: list[tuple[Request, asyncio.Future[Any]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request) -> Any:
        """The answer to a request that waits for others to come. Raises the errors of the two callables."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((request, answered))
        # each has one row at least
        if len(self._waiting) >= self._limits.batch_rows:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(self._limits.batch_wait, self._send)
        return await answered

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        task = asyncio.ensure_future(self._answer(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: list[tuple[Request, asyncio.Future[Any]]]) -> None:
        try:
            if len(batch) > 1:
                answers = await self._together([request for request, _ in batch])
                for (_, answered), answer in zip(batch, answers):  # noqa: B905 (Python 3.9)
                    answered.set_result(answer)
                return
        except WorkerEndedError:
            # one of them may have ended it: the others must not pay for that
            pass
        except Exception as error:
            for _, answered in batch:
                answered.set_exception(error)
            return
        # one after the other: the one that ends its worker must not have company there
        for request, answered in batch:
            await self._answer_one(request, answered)

    async def _answer_one(self, request: Request, answered: asyncio.Future[Any]) -> None:
        try:
            answered.set_result(await self._alone(request, asyncio.Event().wait))
        except Exception as error:
            answered.set_exception(error)


def group(sizes: Sequence[int | None], most: int) -> list[list[int]]:
    """Divides requests, given as their rows, into groups of at most so many rows, in their order.

    None is a request that can't be joined. It is in a group of its own, as is one with more rows than ``most``.
    """
    groups: list[list[int]] = []
    rows = most + 1
    for position, size in enumerate(sizes):
        if size is None or size > most:
            groups.append([position])
            rows = most + 1
        elif rows + size > most:
            groups.append([position])
            rows = size
        else:
            groups[-1].append(position)
            rows += size
    return groups


def divide(prediction: Any, sizes: Sequence[int]) -> list[Any] | None:
    """The parts of a prediction for tables of these sizes, or None if it does not have a value for each row."""
    rows = getattr(prediction, "iloc", prediction)
    if not (isinstance(prediction, list) or hasattr(prediction, "shape")):
        return None
    if len(prediction) != sum(sizes):
        return None
    parts, start = [], 0
    for size in sizes:
        parts.append(rows[start : start + size])
        start += size
    return parts
