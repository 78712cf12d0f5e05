"""What a person can do when a build or an installation has failed, from the last words of the program that failed.

The words are those of Go, apt, debootstrap, uv, pip and buildah on Debian 12, tried with the network off, the disk
full and the process killed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """Words of a failed program, and the sentence for the person."""

    words: str
    sentence: str


AGAIN = "Then run the same command again. It goes on where it was."
REMEDIES = (
    Remedy(
        r"no space left on device|enough free space|disk quota exceeded|ENOSPC",
        f"The disk is full. Free some space: a cold start needs about 12 GB, most of it for Go's build cache. {AGAIN}",
    ),
    Remedy(
        r"signal: killed|exit status 137|cannot allocate memory|out of memory",
        f"A program was killed, usually because memory ran out. A build needs about 4 GB. {AGAIN}",
    ),
    Remedy(
        r"requires go >= |toolchain not available|invalid go version",
        "The Go toolchain is too old for this module. Install the version that the message names, "
        "or unset GOTOOLCHAIN so that Go fetches it.",
    ),
    Remedy(
        r"no such host|name resolution|failure resolving|could not resolve|failed to lookup address|dns error"
        r"|dial tcp|i/o timeout|connection refused|network is unreachable|connection timed out"
        r"|error sending request|tls handshake timeout|cannot initiate the connection|failed to fetch"
        r"|newconnectionerror|unable to connect|getting release",
        "The package source can't be reached. Check the network, and the proxy and mirror settings of this machine "
        f"(GOPROXY, PIP_INDEX_URL, apt's sources). {AGAIN}",
    ),
    Remedy(
        r"could not get lock|is another process using it",
        f"Another process is installing packages on this machine. Wait until it has ended. {AGAIN}",
    ),
    Remedy(
        r"permission denied|operation not permitted|are you root",
        "This needs root, or a cache directory that you may write to (XDG_CACHE_HOME chooses another).",
    ),
    Remedy(
        r"hash mismatch|hashes are required|checksum mismatch|verifying module",
        "What was downloaded is not what is locked: a mirror or proxy between here and the source has changed it. "
        f"Clear its cache, or use another one. {AGAIN}",
    ),
)


def remedy(output: str) -> str:
    """The sentence for the first kind of trouble that the output speaks of; empty when it is none of them."""
    for known in REMEDIES:
        if re.search(known.words, output, re.IGNORECASE):
            return known.sentence
    return ""
