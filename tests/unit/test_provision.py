"""How far a set-up is, and that nothing of it is left when it fails."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from tests.provision.run import JobFailedError, Jobs
from tests.provision.schedule import Job, Progress, line, ready, seconds_left

BUILD = Job("build", ("build",), 200)
IMAGES = Job("images", ("images",), 100)
CLUSTER = Job("cluster", ("cluster",), 20, after=("build", "images"))
ALL = [BUILD, IMAGES, CLUSTER]
NOTHING = Progress()


def seen(
    build: Progress = NOTHING, images: Progress = NOTHING, cluster: Progress = NOTHING
) -> dict[str, Progress]:
    return {"build": build, "images": images, "cluster": cluster}


def test_a_job_begins_when_all_before_it_are_done() -> None:
    assert ready(ALL, seen()) == [BUILD, IMAGES]
    assert ready(ALL, seen(Progress(0), Progress(0, ended=9))) == []
    assert ready(ALL, seen(Progress(0, ended=5), Progress(0, ended=9))) == [CLUSTER]


def test_the_longest_chain_is_what_is_left() -> None:
    assert seconds_left(ALL, seen(), 0) == 220
    assert seconds_left(ALL, seen(Progress(0), Progress(0)), 150) == 50 + 20
    assert seconds_left(ALL, seen(Progress(0, ended=9), Progress(0, ended=9), Progress(9)), 19) == 10


def test_a_job_that_says_how_far_it_is_is_believed_more_than_the_table() -> None:
    halfway = Progress(0, words="compiling Go packages: 50 %, about 80 s left")
    assert seconds_left([BUILD], seen(halfway), 80) == 80


def test_a_small_share_counts_little_beside_the_table() -> None:
    barely = Progress(0, words="compiling Go packages: 1 %")
    assert seconds_left([BUILD], seen(barely), 60) < 0.1 * 60 * 99 + 200


def test_a_job_that_takes_longer_than_usual_still_takes_a_little() -> None:
    assert seconds_left([BUILD], seen(Progress(0)), 1000) == 5


@pytest.mark.parametrize("words", ["compiling: 0 %", "compiling: 100 %", "nothing", ""])
def test_a_share_that_says_nothing_is_passed_over(words: str) -> None:
    assert seconds_left([BUILD], seen(Progress(0, words=words)), 20) == 180


def test_the_line_says_what_is_left_what_is_under_way_and_what_is_done() -> None:
    now = seen(Progress(0, words="compiling: 40 %"), Progress(0, ended=30))
    assert line(ALL, now, 80) == "about 2 min left | under way: build 40 % | done: images"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def python(name: str, code: str, after: tuple[str, ...] = ()) -> Job:
    return Job(name, (sys.executable, "-c", code), 1, after)


def test_jobs_run_in_their_order(tmp_path: Path, console: Console) -> None:
    first, second = (
        f"open({str(tmp_path / 'order')!r}, 'a').write('{word} ')" for word in ("first", "second")
    )
    Jobs([python("first", first), python("second", second, ("first",))], console).run()
    assert (tmp_path / "order").read_text() == "first second "


def test_a_failed_job_is_told_with_its_last_words_and_ends_the_others(
    tmp_path: Path, console: Console
) -> None:
    pid_file = tmp_path / "pid"
    sleeper = (
        "import os, pathlib, time\n"
        f"path = pathlib.Path({str(pid_file)!r})\n"
        "path.with_suffix('.new').write_text(str(os.getpid()))\n"
        "path.with_suffix('.new').rename(path)\n"
        "time.sleep(60)"
    )
    failing = (
        "import pathlib, sys, time\n"
        f"while not pathlib.Path({str(pid_file)!r}).exists(): time.sleep(0.01)\n"
        "sys.exit('the disk is full')"
    )
    with pytest.raises(JobFailedError, match=r"(?s)^bad: .*the disk is full"):
        Jobs([python("long", sleeper), python("bad", failing), python("never", "", ("bad",))], console).run()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid_file.read_text()}").exists():
        assert time.monotonic() < deadline, "the other job runs on"
        time.sleep(0.01)
