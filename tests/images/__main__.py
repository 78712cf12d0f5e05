"""``python -m tests.images build [NAME...]``: builds the images (or the named ones) and says where they are."""

from __future__ import annotations

import argparse
import sys

from tests.images.build import IMAGES, build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="build what has changed; print the archives")
    building.add_argument("only", nargs="*", choices=[[], *(image.key for image in IMAGES)], metavar="NAME")
    arguments = parser.parse_args()
    try:
        for name, archive in build(arguments.only).items():
            print(f"{name}\t{archive}")
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
