"""Fields that take one of several names: each name is a row, and the CRD, the checks and the docs are made of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema


@dataclass(frozen=True, slots=True, eq=False)
class OneOf:
    """Marks a text that has to be a name of one of ``rows``: those that are there when a manifest is read."""

    rows: Mapping[str, object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": list(self.rows), "type": "string"}

    def _check(self, value: object) -> str:
        if isinstance(value, str) and value in self.rows:
            return value
        *most, last = (repr(name) for name in self.rows)
        expected = f"{', '.join(most)} or {last}" if most else last
        raise PydanticKnownError("literal_error", {"expected": expected})
