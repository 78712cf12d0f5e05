"""A client that reports the duration and the outcome of each request to a registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager

from model_operator.domain.registry import Metric, ModelDescription
from model_operator.registry.clients.base import ModelRecord, RegistryClient, RegistryError, VersionRecord


class TimedClient:
    """A RegistryClient that times each request. See RegistryClient for the methods."""

    def __init__(self, client: RegistryClient, asked: Callable[[str, str, float], None]) -> None:
        """``asked`` gets the operation, the outcome (``ok``, ``left`` or a reason of failure), and the seconds."""
        self._client = client
        self._asked = asked

    @property
    def lists_models(self) -> bool:
        """See RegistryClient."""
        return self._client.lists_models

    @property
    def url(self) -> str:
        """See RegistryClient."""
        return self._client.url

    async def model(self, name: str) -> ModelRecord:
        """See RegistryClient."""
        with self._time("model"):
            return await self._client.model(name)

    async def version(self, name: str, version: str) -> VersionRecord:
        """See RegistryClient."""
        with self._time("version"):
            return await self._client.version(name, version)

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See RegistryClient."""
        with self._time("set_version_tag"):
            await self._client.set_version_tag(name, version, key, value)

    async def models(self) -> AsyncGenerator[Sequence[ModelRecord], None]:
        """See RegistryClient."""
        with self._time("models"):
            async with aclosing(self._client.models()) as pages:
                async for page in pages:
                    yield page

    async def versions(self) -> AsyncGenerator[Sequence[VersionRecord], None]:
        """See RegistryClient."""
        with self._time("versions"):
            async with aclosing(self._client.versions()) as pages:
                async for page in pages:
                    yield page

    async def metrics(self, run_id: str, source: str) -> Sequence[Metric]:
        """See RegistryClient."""
        with self._time("metrics"):
            return await self._client.metrics(run_id, source)

    async def description(self, name: str, version: str) -> ModelDescription:
        """See RegistryClient."""
        with self._time("description"):
            return await self._client.description(name, version)

    async def aclose(self) -> None:
        """See RegistryClient."""
        await self._client.aclose()

    @contextmanager
    def _time(self, operation: str) -> Iterator[None]:
        started, outcome = time.monotonic(), "defect"
        try:
            yield
            outcome = "ok"
        except RegistryError as error:
            outcome = str(error.reason)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            # a listing is left as soon as all wanted rows are found
            outcome = "left"
            raise
        finally:
            self._asked(operation, outcome, time.monotonic() - started)
