"""A real MLflow server by hand: start, train, alias, stop."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.mlflow_server import IRIS_STORY, MlflowServer, Training, alias, train
from tests.mlflow_server.training import KINDS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except RuntimeError as error:
        print(f"mlflow_server: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mlflow_server", description=__doc__)
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(".cluster/mlflow"),
        help="where the server keeps all (%(default)s)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    start = commands.add_parser(
        "start", help="start a server (or find the running one) and say how to log in"
    )
    start.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    start.add_argument("--port", type=int, default=0, help="0 takes a free one")
    start.add_argument("--allowed-host", action="append", default=[], help="a further Host header to accept")
    start.add_argument("--no-auth", action="store_true", help="without basic auth")
    start.set_defaults(run=_start)

    stop = commands.add_parser("stop", help="end the server; what it stored stays")
    stop.set_defaults(run=_stop)

    training = commands.add_parser("train", help="train iris classifiers and register them")
    training.add_argument("--name", default="iris", help="the registered model (%(default)s)")
    training.add_argument("--seconds", type=float, default=30, help="how long slow-load loads (%(default)s)")
    training.add_argument(
        "kinds",
        nargs="*",
        metavar="KIND",
        help=f"{', '.join(KINDS)}; by default {' '.join(t.kind for t in IRIS_STORY)}",
    )
    training.set_defaults(run=_train)

    moving = commands.add_parser("alias", help="point an alias at a version, or remove it")
    moving.add_argument("name")
    moving.add_argument("alias")
    moving.add_argument("version", nargs="?", help="left out: the alias is removed")
    moving.set_defaults(run=_alias)
    return parser


def _start(options: argparse.Namespace) -> None:
    server = MlflowServer.start(
        options.directory,
        host=options.host,
        port=options.port,
        basic_auth=not options.no_auth,
        allowed_hosts=options.allowed_host,
    )
    print(f"{server.url} (pid {server.pid})")
    if server.username:
        print(f"user {server.username}, password in {server.directory / 'admin-password'}")


def _stop(options: argparse.Namespace) -> None:
    server = MlflowServer.find(options.directory)
    if server is None:
        print(f"no server runs for {options.directory}")
        return
    server.stop()
    print(f"stopped {server.url}")


def _train(options: argparse.Namespace) -> None:
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown:
        raise RuntimeError(f"unknown kind {unknown[0]}; choose from {', '.join(KINDS)}")
    kinds = options.kinds or [training.kind for training in IRIS_STORY]
    trainings = [Training(options.name, kind, seconds=options.seconds) for kind in kinds]
    started = time.monotonic()
    train(
        _running(options),
        trainings,
        lambda v: print(
            f"{v.name} version {v.version}: {v.kind}, accuracy {v.accuracy:.3f} "
            f"({time.monotonic() - started:.1f} s)",
            flush=True,
        ),
    )


def _alias(options: argparse.Namespace) -> None:
    alias(_running(options), options.name, options.alias, options.version)
    print(
        f"{options.name}@{options.alias} "
        + (f"is version {options.version}" if options.version else "is gone")
    )


def _running(options: argparse.Namespace) -> MlflowServer:
    server = MlflowServer.find(options.directory)
    if server is None:
        raise RuntimeError(f"no server runs for {options.directory}; start one first")
    return server


if __name__ == "__main__":
    raise SystemExit(main())
