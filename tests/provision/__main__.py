"""``python -m tests.provision suites`` or ``cluster``: makes or finds what the suites, or demo and e2e, need."""

from __future__ import annotations

import argparse
import signal
import sys

from tests.provision.jobs import PURPOSES, ProvisionError, provision
from tests.provision.run import plain_or_live


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.provision",
        description=__doc__,
        epilog="What was made before is found again. Interrupted, it goes on where it was.",
    )
    parser.add_argument("purpose", choices=PURPOSES)
    arguments = parser.parse_args()
    # a SIGTERM, as from a CI runner, ends what was started just as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = plain_or_live()
    try:
        provision(arguments.purpose, console)
    except ProvisionError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted. The same command goes on where it was.", markup=False)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
