"""The command line: settings in, log lines and an exit code out."""

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
"""Python's own 700, 10, 10 take a tenth of the CPU: each JSON answer is thousands of objects without a cycle."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator until SIGTERM; returns the exit code.

    0: stopped as asked, or the configuration was only checked. 1: something that it cannot do without was
    lost; start it again. 2: the configuration is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        configured = settings.load(options.config)
    except SettingsError as error:
        print(f"model-operator: {error}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    if options.check_config:
        names = ", ".join(sorted(configured.registries))
        print(f"{options.config}: ok; registries: {names}")
        return 0
    _log_to_stderr(configured.log_level)
    # here and not above: kopf and the client library take two seconds, which --help should not
    from model_operator.app.process import Process

    log.info("model-operator %s starts with %s", version("model-operator"), options.config)
    gc.freeze()  # what is loaded by now stays for good
    gc.set_threshold(*_COLLECT_EVERY)
    return asyncio.run(Process(configured).run())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="model-operator",
        description="Make Kubernetes follow a model registry: watch ModelDeployments, resolve their models, "
        "roll versions out, go back when a version is sick.",
        epilog="The API server is found through KUBECONFIG, or else the pod's service account, or else "
        "~/.kube/config. Exit codes: 0 stopped by SIGTERM or SIGINT; 1 a connection that it needs was lost, "
        "start it again; 2 the configuration is wrong. /metrics, /healthz and /readyz are on metricsPort.",
    )
    default = Path(os.environ.get(settings.CONFIG_VARIABLE) or settings.DEFAULT_PATH)
    parser.add_argument(
        "--config",
        type=Path,
        default=default,
        metavar="FILE",
        help=f"the YAML configuration file; {settings.CONFIG_VARIABLE} names it too (now: {default})",
    )
    parser.add_argument("--check-config", action="store_true", help="check the configuration file, then exit")
    parser.add_argument("--version", action="version", version=f"model-operator {version('model-operator')}")
    return parser


class _OneLine(logging.Formatter):
    """``time=… level=… logger=… msg="…"``: one line per message, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback follows in ``error`` with its line breaks escaped."""
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
