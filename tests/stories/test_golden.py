"""Every transcript is that of a story that is still told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.stories.conftest import GOLDEN, transcript_of

STORIES = Path(__file__).parent


def test_no_transcript_outlives_its_story(request: pytest.FixtureRequest) -> None:
    transcripts = {file.name for file in GOLDEN.iterdir()}
    if transcripts <= {transcript_of(item.name).name for item in request.session.items}:
        return
    # the present session may have been asked for one story only, so all of them are collected
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(STORIES)]
    listed = subprocess.run(
        command, cwd=STORIES.parents[1], capture_output=True, text=True, timeout=120, check=True
    )
    told = {transcript_of(line.split("::")[1]).name for line in listed.stdout.splitlines() if "::" in line}
    assert told
    assert not transcripts - told, "no story writes these any more: remove them"
