"""Run with MLflow's interpreter: the answer to DIRECTORY/request.json from the regression of benchmarks/serving.py."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from serve_request import Request
from serve_scoring import load
from serve_v2 import InferenceProtocol

PROGRAMS = Path(__file__).parents[2] / "benchmarks" / "serving_programs.py"


def main(directory: Path) -> None:
    logging.disable(logging.CRITICAL)
    subprocess.run([sys.executable, str(PROGRAMS), "save", str(directory)], check=True, capture_output=True)
    protocol = InferenceProtocol("logistic", "1", load(directory / "logistic"))
    body = (directory / "request.json").read_bytes()
    answer = protocol.answer(Request("POST", "/v2/models/logistic/infer", body))
    assert answer is not None
    print(answer.body.decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
