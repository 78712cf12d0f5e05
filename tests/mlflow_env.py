"""The Python environments that have MLflow: made once from requirements/mlflow.txt, as in the serving image, and
from requirements/mlflow2.txt, the oldest MLflow that the pods' scripts are tested with.

The operator's own environment has no mlflow. Whoever needs the real thing (the contract tests of the pods'
scripts, the MLflow server of the tests and the demo) runs it with the interpreter that `ensure_python` names.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.locks import locked
from tests.cluster.process import tied_to_this_process
from tests.cluster.remedies import remedy

REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "mlflow.txt"
OLDEST = REQUIREMENTS.with_name("mlflow2.txt")
MLSERVER = REQUIREMENTS.with_name("mlserver.txt")
INSTALL_SECONDS = 900


def cache_root() -> Path:
    """The directory outside the repository that keeps what is expensive to make, made if it is absent."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(base) / "model-operator"
    root.mkdir(parents=True, exist_ok=True)
    return root


def ensure_python(requirements: Path = REQUIREMENTS) -> Path:
    """The interpreter of a virtual environment with exactly what that lock file names, made if it is absent.

    Safe to call from several processes at once: one makes it, the others wait. A change of the lock file, or
    of the Python version, gives a new environment. Raises RuntimeError with the installer's last words.
    """
    key = hashlib.sha256(requirements.read_bytes() + platform.python_version().encode()).hexdigest()[:12]
    home = cache_root() / f"mlflow-{key}"
    python = home / "bin" / "python"
    if (home / ".complete").exists():
        return python
    with locked(cache_root() / f"mlflow-{key}.lock"):
        if not (home / ".complete").exists():
            _make(home, python, requirements)
    return python


def _make(home: Path, python: Path, requirements: Path) -> None:
    started = time.monotonic()
    print(
        f"making {home.name} from {requirements.name} (once; one to three minutes)",
        file=sys.stderr,
        flush=True,
    )
    # what a killed predecessor left is of unknown state
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(home)])
    _run([*_installer(python), "--require-hashes", "-r", str(requirements)])
    (home / ".complete").touch()
    print(f"made {home.name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _installer(python: Path) -> list[str]:
    """uv where there is one (several times faster), else the pip of this interpreter."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        # without compiled files each start would compile MLflow anew where PYTHONDONTWRITEBYTECODE is set
        return [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    return [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]


def _run(command: list[str]) -> None:
    tied = [*tied_to_this_process(), *command]
    done = subprocess.run(tied, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-2000:]
        raise RuntimeError(f"{' '.join(command[:4])} ... failed:\n{said}\n{remedy(said)}".rstrip())


if __name__ == "__main__":
    chosen = [REQUIREMENTS.with_name(name) for name in sys.argv[1:]] or [REQUIREMENTS, OLDEST]
    for lock in chosen:
        print(ensure_python(lock))
