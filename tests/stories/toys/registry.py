"""A kind of registry in one file: a shelf of models in memory, which an API key opens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from model_operator.api.choices import RegistryKindRow
from model_operator.domain.registry import Metric, ModelDescription, ResolutionReason
from model_operator.planner.manifests.registry_env import RegistryAccess
from model_operator.registry.clients.base import ModelRecord, RegistryConfig, RegistryError, VersionRecord
from model_operator.registry.clients.credentials import Access

ROW = RegistryKindRow(workspaces=False)
ACCESS = RegistryAccess(
    address=lambda registry: {"SHELF_URL": registry.url},
    credentials={"api-key": "SHELF_API_KEY"},
    missing=lambda keys: "" if "api-key" in keys else "api-key",
    ca_variable="SHELF_CA_FILE",
)
ALIASES: dict[str, dict[str, str]] = {}
"""By model. Every version that an alias names exists."""


class ShelfClient:
    """A RegistryClient."""

    lists_models = False

    def __init__(self, entry: str, config: RegistryConfig, *, access: Access | None = None) -> None:
        self.url = config.url

    async def model(self, name: str) -> ModelRecord:
        if name not in ALIASES:
            raise RegistryError(ResolutionReason.MODEL_NOT_FOUND, f"the shelf has no model {name}")
        return ModelRecord(name, ALIASES[name])

    async def version(self, name: str, version: str) -> VersionRecord:
        await self.model(name)
        return VersionRecord(name, version, True, "READY", "", "", f"shelf:/{name}/{version}")

    async def models(self) -> AsyncGenerator[Sequence[ModelRecord], None]:
        for nothing in ():
            yield nothing

    async def versions(self) -> AsyncGenerator[Sequence[VersionRecord], None]:
        for nothing in ():
            yield nothing

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        raise RegistryError(ResolutionReason.FORBIDDEN, "nobody writes to the shelf")

    async def metrics(self, run_id: str, source: str) -> Sequence[Metric]:
        return ()

    async def description(self, name: str, version: str) -> ModelDescription:
        return ModelDescription()

    async def aclose(self) -> None:
        pass
