"""Run with MLflow's interpreter: saves models that do to their process whatever a request says, into a directory."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mlflow.pyfunc

SAVING = "SAVING_MODELS"


class Unruly(mlflow.pyfunc.PythonModel):
    """Does what the column ``do`` of the first row says, with the number in ``much``, and answers with a number."""

    def __init__(self, on_load: str = "") -> None:
        self.on_load = on_load

    def load_context(self, context: Any) -> None:
        if SAVING not in os.environ:
            from prometheus_client import Counter

            self.counter = Counter("unruly_requests", "Requests to the unruly model.")
        print(f"loaded by {os.getpid()}", flush=True)
        if self.on_load == "change":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            os.chdir("/")
        if self.on_load == "thread":
            threading.Thread(target=time.sleep, args=(1000,), name="refresh", daemon=True).start()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        do, much = model_input["do"].iloc[0], float(model_input["much"].iloc[0])
        print(f"does {do} {much:g}", flush=True)
        return [self._do(do, much)]

    def _do(self, do: str, much: float) -> float:
        if do == "sleep":
            time.sleep(much)
        elif do == "hold the GIL":
            # PyDLL keeps it, where other functions of C let it go
            ctypes.PyDLL(None).sleep(int(much))
        elif do == "crash":
            ctypes.string_at(0)
        elif do == "exit":
            os._exit(int(much))
        elif do == "system exit":
            sys.exit(int(much))
        elif do == "print":
            print("x" * int(much), flush=True)
        elif do == "fork":
            if os.fork() == 0:
                time.sleep(much)
                os._exit(0)
        elif do == "count":
            self.counter.inc(much)
        elif do == "random":
            return random.random()
        return os.getpid()


def main(directory: Path) -> None:
    os.environ[SAVING] = "yes"
    for name, on_load in {"unruly": "", "with-thread": "thread", "changes-process": "change"}.items():
        mlflow.pyfunc.save_model(directory / name, python_model=Unruly(on_load), pip_requirements=[])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
