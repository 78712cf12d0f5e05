"""Faster parts for MLflow's scoring of plain tables, with the same values: a part of serve.py.

MLflow casts a table column by column, compares it with the signature, and encodes the answer in Python code. A table
whose columns and values have exactly the types of the signature needs neither cast nor comparison. Anything else goes
MLflow's own way, and so do all other checks, the prediction and the errors.
"""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

SPLIT, RECORDS, PARAMS = "dataframe_split", "dataframe_records", "params"
VALIDATED = ["data", "params", "input_schema", "params_schema"]
# by the name of MLflow's type: NumPy's, and Python's types of the values that need no cast
TYPES: Mapping[str, tuple[str, frozenset[type]]] = {
    "double": ("float64", frozenset({float, int})),
    "long": ("int64", frozenset({int})),
    "boolean": ("bool", frozenset({bool})),
    "string": ("object", frozenset({str})),
}


class TableReader:
    """Makes the table of a request, if it has the columns of a signature in their order and values of their types."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """``columns`` has the name of MLflow's type by the column's name. Raises KeyError for an unknown one."""
        self._names = list(columns)
        self._types = [TYPES[kind] for kind in columns.values()]
        self._numbers = set(columns.values()) == {"double"}

    def rows(self, body: bytes) -> list[Any] | None:
        """The rows of a request without params, or None if they can't be joined with those of others."""
        try:
            document = json.loads(body)
            if type(document) is not dict or PARAMS in document:
                return None
            rows = self._rows(document) if document.keys() <= {SPLIT, RECORDS} else None
            if rows is not None:
                # raises if a value needs a cast
                self.table(rows)
            return rows
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None

    def read(self, body: bytes) -> tuple[Any, Any] | None:
        """The table and the params of a request; None if it is MLflow's to read."""
        try:
            document = json.loads(body)
            if type(document) is not dict or not document.keys() <= {SPLIT, RECORDS, PARAMS}:
                return None
            rows = self._rows(document)
            return None if rows is None else (self.table(rows), document.get(PARAMS))
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None

    def _rows(self, document: Mapping[str, Any]) -> list[Any] | None:
        """The rows as lists of the right length."""
        if (SPLIT in document) is (RECORDS in document):
            return None
        if SPLIT in document:
            table = document[SPLIT]
            if (
                type(table) is not dict
                or table.keys() != {"columns", "data"}
                or table["columns"] != self._names
            ):
                return None
            rows = table["data"]
            if type(rows) is not list or set(map(type, rows)) != {list}:
                return None
        else:
            records = document[RECORDS]
            if type(records) is not list or set(map(type, records)) != {dict}:
                return None
            if any(list(record) != self._names for record in records):
                return None
            rows = [list(record.values()) for record in records]
        return rows if set(map(len, rows)) == {len(self._names)} else None

    def table(self, rows: list[Any]) -> Any:
        """The table of these rows.

        Raises ValueError if a value needs a cast, and OverflowError for a number that is too large.
        """
        import numpy as np  # type: ignore[import-not-found,unused-ignore]
        import pandas as pd  # type: ignore[import-untyped,unused-ignore]

        if self._numbers:
            _, known = self._types[0]
            if not known.issuperset(map(type, chain.from_iterable(rows))):
                raise ValueError
            flat = np.fromiter(chain.from_iterable(rows), "float64", len(rows) * len(self._names))
            # one block in memory, column after column, as MLflow's table is: a sum in another order may differ
            block = np.ascontiguousarray(flat.reshape(len(rows), -1).T)
            return pd.DataFrame(block.T, columns=self._names)
        values = {}
        for name, (dtype, known), column in zip(self._names, self._types, zip(*rows)):  # noqa: B905 (Python 3.9)
            if not known.issuperset(map(type, column)):
                raise ValueError
            values[name] = np.array(column, dtype)
        return pd.DataFrame(values)


def reader_for(metadata: Any) -> TableReader | None:
    """The reader for a model, or None if its signature has other types than those of TYPES, or none at all."""
    import pandas as pd

    from_hints = getattr(metadata, "_is_signature_from_type_hint", None)
    schema = metadata.get_input_schema()
    # pandas 3 has a type of its own for texts, and MLflow leaves it
    if (
        schema is None
        or (from_hints is not None and from_hints())
        or schema.is_tensor_spec()
        or not schema.has_input_names()
        or pd.Series(["text"]).dtype != object
    ):
        return None
    names = schema.input_names()
    kinds = [getattr(kind, "name", "") for kind in schema.input_types()]
    if not names or len(set(names)) < len(names) or not TYPES.keys() >= set(kinds):
        return None
    return TableReader(dict(zip(names, kinds)))  # noqa: B905 (Python 3.9)


def quicken(scoring_server: Any, pyfunc: Any, reader: TableReader | None) -> None:
    """Puts the faster parts into MLflow's modules. Does nothing where they have other functions than those known."""
    parse = getattr(scoring_server, "_parse_json_data", None)
    result = getattr(scoring_server, "ParsedJsonInput", None)
    known = getattr(result, "_fields", None) == ("data", "params", "is_unified_llm_input")
    if parse and known and reader is not None:
        # the table that a thread has read last: it is as the signature has it
        last = threading.local()
        scoring_server._parse_json_data = _reading(reader, parse, result, last)
        validate = getattr(pyfunc, "_validate_prediction_input", None)
        if validate and list(inspect.signature(validate).parameters)[:4] == VALIDATED:
            pyfunc._validate_prediction_input = _validating(validate, last)
    jsonable = getattr(scoring_server, "_get_jsonable_obj", None)
    encoder = getattr(scoring_server, "NumpyEncoder", None)
    if (
        jsonable
        and encoder
        and list(inspect.signature(scoring_server.predictions_to_json).parameters)
        == [
            "raw_predictions",
            "output",
            "metadata",
        ]
    ):
        scoring_server.predictions_to_json = _encoding(scoring_server.predictions_to_json, jsonable, encoder)


def _reading(
    reader: TableReader, parse: Callable[..., Any], result: Any, last: threading.local
) -> Callable[..., Any]:
    def parse_json_data(data: Any, metadata: Any, input_schema: Any) -> Any:
        read = reader.read(data)
        if read is None:
            return parse(data, metadata, input_schema)
        last.table = read[0]
        return result(*read, False)

    return parse_json_data


def _validating(validate: Callable[..., Any], last: threading.local) -> Callable[..., Any]:
    def validate_prediction_input(
        data: Any, params: Any, input_schema: Any, *more: Any, **others: Any
    ) -> Any:
        known, last.table = getattr(last, "table", None), None
        if data is known is not None:
            input_schema = None
        return validate(data, params, input_schema, *more, **others)

    return validate_prediction_input


def _encoding(encode: Callable[..., Any], jsonable: Callable[..., Any], encoder: type) -> Callable[..., Any]:
    def predictions_to_json(raw_predictions: Any, output: Any, metadata: Any = None) -> Any:
        if metadata:
            return encode(raw_predictions, output, metadata)
        predictions = jsonable(raw_predictions, pandas_orient="records")
        return output.write(json.dumps({"predictions": predictions}, cls=encoder))

    return predictions_to_json
