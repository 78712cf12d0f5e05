"""The operator's command line: reads the settings, runs the process, logs and returns an exit code."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from model_operator import settings
from model_operator.settings import SettingsError

log = logging.getLogger("model_operator")

EXIT_MISCONFIGURED = 2
_COLLECT_EVERY = (50_000, 20, 100)
"""Thresholds of gc. Python's own 700, 10, 10 take a tenth of the CPU: a JSON answer has thousands of objects without
a cycle."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the operator until SIGTERM and returns the exit code.

    0: stopped by a signal, or the configuration was only checked. 1: a necessary connection was lost, and a restart may
    help. 2: the configuration is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        configured = settings.load(options.config)
    except SettingsError as error:
        print(f"model-operator: {error}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    if options.check_config:
        names = ", ".join(sorted(configured.registries))
        print(f"{options.config}: ok, registries: {names}")
        return 0
    _log_to_stderr(configured.log_level)
    # not at the top: loading kopf and the client library takes two seconds, and --help should be fast
    from model_operator.app.process import Process

    log.info("model-operator %s starts with %s", version("model-operator"), options.config)
    gc.freeze()  # modules that are loaded by now are never freed
    gc.set_threshold(*_COLLECT_EVERY)
    return asyncio.run(Process(configured).run())


_DESCRIPTION = """\
Deploys models from a registry to Kubernetes: watches ModelDeployments, resolves
their aliases, rolls out new versions, and rolls back versions that fail."""
_EPILOG = """\
Examples:
  model-operator --config config.yaml
  model-operator --config config.yaml --check-config

Connection: KUBECONFIG, or else the pod's service account, or else ~/.kube/config.
HTTP: /metrics, /healthz and /readyz are on the configuration's metricsPort.

Exit codes:
  0  stopped by SIGTERM or SIGINT, or the configuration is valid
  1  a necessary connection was lost: restart the operator
  2  the configuration is invalid"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="model-operator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Path(os.environ.get(settings.CONFIG_VARIABLE) or settings.DEFAULT_PATH)
    parser.add_argument(
        "--config",
        type=Path,
        default=default,
        metavar="FILE",
        help=f"YAML configuration file (default: {settings.CONFIG_VARIABLE}, now {default})",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="validate the configuration file, then exit with 0 or 2"
    )
    parser.add_argument("--version", action="version", version=f"model-operator {version('model-operator')}")
    return parser


class _OneLine(logging.Formatter):
    """Formats a record as one line, ``time=… level=… logger=… msg="…"``, even if its message has line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as one line. A traceback is in ``error``, with escaped line breaks."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts = [
            f"time={when}.{int(record.msecs):03d}Z",
            f"level={record.levelname.lower()}",
            f"logger={record.name.removeprefix('model_operator.')}",
            f"msg={json.dumps(record.getMessage(), ensure_ascii=False)}",
        ]
        if record.exc_info:
            parts.append(f"error={json.dumps(self.formatException(record.exc_info), ensure_ascii=False)}")
        return " ".join(parts)


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("model_operator").setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
