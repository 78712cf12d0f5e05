"""The command line: `python -m tests.cluster --help`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from tests.cluster.api import KubeconfigError
from tests.cluster.binaries import BinaryUnavailableError, ensure
from tests.cluster.packages import PackagesMissingError
from tests.cluster.provider import ClusterError, ClusterProvider, environment, select
from tests.cluster.remains import Remains
from tests.cluster.reporting import say

EPILOG = """\
The cluster belongs to this checkout; its state, logs and kubeconfig stand in .cluster/. Where a Docker engine
answers it is made by kind, otherwise it is a node of our own, which needs root on a Debian-like Linux and
touches nothing of the machine but cgroups and one network link, both with our mark.

  python -m tests.cluster up                      make it, or find the running one (a second)
  eval "$(python -m tests.cluster shell-env)"     KUBECONFIG, and kubectl and helm of the right versions
  kubectl get pods --all-namespaces
  python -m tests.cluster load image.tar          give it the images of a docker or OCI archive
  python -m tests.cluster down                    remove it, and every trace
  python -m tests.cluster leftovers               list traces of a dead one; fails when there are any
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="A real Kubernetes for the tests and the demo.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--provider", choices=["bare", "kind"], help="instead of the one that fits this machine"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="make the cluster; a healthy running one is kept, a dead one is cleared")
    commands.add_parser("down", help="remove the cluster")
    commands.add_parser("status", help="is it there and healthy? fails when not")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    commands.add_parser("shell-env", help="print shell lines that set KUBECONFIG and PATH")
    commands.add_parser("host-address", help="print the address at which pods reach servers on this machine")
    leftovers = commands.add_parser(
        "leftovers", help="list what a dead cluster left; fails when there is something"
    )
    leftovers.add_argument("--all", action="store_true", help="of all checkouts, the running ones included")
    load = commands.add_parser("load", help="make the images of an archive usable by pods")
    load.add_argument("archive", type=Path, nargs="+")
    commands.add_parser("packages", help="install the system's packages that the cluster and the images need")
    build = commands.add_parser("programs", help="find or build programs and print their paths")
    build.add_argument("name", nargs="+")
    return parser


def _leftovers(provider: ClusterProvider, everywhere: bool) -> int:
    found = Remains.find(None).describe() if everywhere else provider.leftovers()
    for line in found:
        print(line)
    if not found:
        say("Nothing is left.")
    return 1 if found else 0


def _status(provider: ClusterProvider) -> int:
    status = provider.status()
    state = "healthy" if status.healthy else "not healthy" if status.running else "not running"
    print(f"{status.provider}: {state} {status.server}".rstrip())
    for fault in status.faults:
        print(f"  {fault}")
    return 0 if status.healthy else 3


def _shell_env(provider: ClusterProvider) -> int:
    for name, value in environment(provider).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "programs":
        for path in ensure(*arguments.name).values():
            print(path)
        return 0
    provider = select(arguments.provider)
    began = time.monotonic()
    match arguments.command:
        case "packages":
            provider.install_packages()
        case "up":
            provider.up()
            say(f"up: {time.monotonic() - began:.1f} s")
        case "down":
            provider.down()
            say(f"down: {time.monotonic() - began:.1f} s")
        case "status":
            return _status(provider)
        case "kubeconfig":
            print(provider.kubeconfig)
        case "shell-env":
            return _shell_env(provider)
        case "host-address":
            print(provider.host_address)
        case "leftovers":
            return _leftovers(provider, arguments.all)
        case "load":
            for archive in arguments.archive:
                provider.load_image(archive)
    return 0


def main() -> int:
    try:
        return _run(_parser().parse_args())
    except (ClusterError, KubeconfigError, BinaryUnavailableError, PackagesMissingError) as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
