"""Run with MLflow's interpreter: MLflow's own scoring application around each model of a directory, on one port.

Usage: serve_reference.py DIRECTORY PORT. The model NAME is at /NAME/invocations.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn
from mlflow.pyfunc import scoring_server


def main(directory: Path, port: int) -> None:
    apps = {
        path.parent.name: scoring_server.init(scoring_server.load_model_with_mlflow_config(str(path.parent)))
        for path in sorted(directory.glob("*/MLmodel"))
    }

    async def choose(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        _, name, rest = scope["path"].split("/", 2)
        await apps[name]({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, send)

    uvicorn.run(
        choose, host="127.0.0.1", port=port, log_level="warning", lifespan="off", timeout_keep_alive=300
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
