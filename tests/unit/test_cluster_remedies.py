"""The sentence that a person gets when a build or an installation has failed."""

import pytest
from tests.cluster.remedies import remedy

# as the programs themselves put it
WORDS = [
    ("compile: writing output: write $WORK/b002/_pkg_.a: no space left on device", "The disk is full"),
    ("E: You don't have enough free space in /var/cache/apt/archives/.", "The disk is full"),
    ("OSError: [Errno 28] No space left on device", "The disk is full"),
    ("k8s.io/api/core/v1: compile: signal: killed", "was killed"),
    ("go: go.mod requires go >= 1.26.4 (running go 1.22.0; GOTOOLCHAIN=local)", "too old"),
    ("dial tcp: lookup proxy on 127.0.0.53:53: server misbehaving", "can't be reached"),
    ("dial tcp 10.0.0.1:443: connect: connection refused", "can't be reached"),
    ("Temporary failure resolving 'mirror'", "can't be reached"),
    ("E: Failed to fetch index  Could not connect to mirror:80", "can't be reached"),
    ("error: Failed to fetch: `simple/mlflow/`\n  Caused by: error sending request", "can't be reached"),
    ("E: Failed getting release file mirror/dists/bookworm/Release", "can't be reached"),
    ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7", "Another process"),
    ("mkdir /root/.cache: permission denied", "needs root"),
    ("E: Could not open lock file - open (13: Permission denied)", "needs root"),
    ("verifying module: checksum mismatch", "not what is locked"),
    ("error: Hash mismatch for `mlflow==3.17.2`", "not what is locked"),
]


@pytest.mark.parametrize(("output", "sentence"), WORDS, ids=[words[:40] for words, _ in WORDS])
def test_a_known_trouble_comes_with_what_to_do(output: str, sentence: str) -> None:
    assert sentence in remedy(output)


def test_of_an_unknown_trouble_nothing_is_claimed() -> None:
    assert remedy("undefined: app.NewAPIServerCommand") == ""
