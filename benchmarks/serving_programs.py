"""Run with an interpreter that has the libraries: saves the models of benchmarks/serving.py, and the least of a server.

Usage: serving_programs.py save DIRECTORY | save-v2 DIRECTORY | least MODEL_DIRECTORY PORT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

COLUMNS = ["f0", "f1", "f2", "f3"]


def fitted(framed: bool) -> dict[str, Any]:
    """The models by name, fitted on a table with named columns or on an array."""
    random = np.random.default_rng(7)
    features: Any = random.normal(size=(500, len(COLUMNS)))
    labels = (features.sum(axis=1) > 0).astype(int)
    if framed:
        import pandas as pd

        features = pd.DataFrame(features, columns=COLUMNS)
    return {
        "logistic": LogisticRegression().fit(features, labels),
        "forest": RandomForestClassifier(n_estimators=100, n_jobs=1, random_state=7).fit(features, labels),
    }


def save(directory: Path) -> None:
    """Saves MLflow models with a signature."""
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature

    example = pd.DataFrame([[0.1, 0.2, 0.3, 0.4]], columns=COLUMNS)
    for name, model in fitted(framed=True).items():
        signature = infer_signature(example, model.predict(example))
        mlflow.sklearn.save_model(
            model,
            directory / name,
            signature=signature,
            pip_requirements=[],
            serialization_format="cloudpickle",
        )


def save_v2(directory: Path) -> None:
    """Saves the same models for MLServer."""
    import joblib

    for name, model in fitted(framed=False).items():
        where = directory / f"{name}-v2"
        where.mkdir()
        joblib.dump(model, where / "model.joblib")
        settings = {
            "name": name,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": "./model.joblib"},
        }
        (where / "model-settings.json").write_text(json.dumps(settings))


def least(directory: str, port: int) -> None:
    """The least that a server in Python has to do: no framework, no checks, one thread."""
    import mlflow.sklearn
    import pandas as pd
    import uvicorn

    model = mlflow.sklearn.load_model(directory)
    plain = [(b"content-type", b"application/json")]

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        answer = b"{}"
        if body:
            table = json.loads(body)["dataframe_split"]
            frame = pd.DataFrame(table["data"], columns=table["columns"])
            answer = json.dumps({"predictions": model.predict(frame).tolist()}).encode()
        length = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": plain + length})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off", access_log=False)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["save", directory]:
            save(Path(directory))
        case ["save-v2", directory]:
            save_v2(Path(directory))
        case ["least", directory, port]:
            least(directory, int(port))
        case _:
            sys.exit(__doc__)
