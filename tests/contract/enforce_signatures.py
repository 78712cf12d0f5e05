"""Run with MLflow's interpreter: says which requests two signatures accept, with MLflow's own parsing and checks.

Reads a JSON list of ``{"old": signature, "new": signature, "request": body of /invocations}`` and prints, for each,
the pair of complaints of both signatures; an empty one means that the request is accepted.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mlflow.models import ModelSignature
from mlflow.models.utils import _enforce_params_schema, _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data


def complaint(signature: dict[str, Any], request: dict[str, Any]) -> str:
    # in MLmodel each part is text of its own
    asked = ModelSignature.from_dict({part: json.dumps(entries) for part, entries in signature.items()})
    body = json.loads(json.dumps(request))
    params = body.pop("params", None)
    try:
        _enforce_schema(infer_and_parse_data(body, asked.inputs), asked.inputs)
        _enforce_params_schema(params, asked.params)
    except Exception as refusal:  # MLflow lets errors of pandas and numpy through, too
        return f"{type(refusal).__name__}: {refusal}"[:300]
    return ""


if __name__ == "__main__":
    print(
        json.dumps(
            [
                (complaint(case["old"], case["request"]), complaint(case["new"], case["request"]))
                for case in json.load(sys.stdin)
            ]
        )
    )
