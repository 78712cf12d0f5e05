"""The pure parts of the server's processes: cores and workers, requests at once, and frames."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPTS = Path(__file__).parents[3] / "operator" / "model_operator" / "pod"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts as a pod has them: modules of their own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


# ---- cores and workers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        pytest.param({"cpu.max": "150000 100000\n"}, 1.5, id="version 2"),
        pytest.param({"cpu.max": "max 100000\n"}, None, id="version 2 without a limit"),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5, id="version 1"
        ),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, id="version 1, none"
        ),
        pytest.param({"cpu.max": "garbage"}, None, id="garbage"),
        pytest.param({}, None, id="no cgroup"),
    ],
)
def test_the_cpu_limit_is_the_cgroups(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert module("serve_cpu").cpu_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("limit", "cores", "workers"),
    [(None, 64, 1), (0.1, 64, 1), (1, 64, 1), (1.4, 64, 1), (1.5, 64, 2), (4, 64, 4), (8, 2, 2)],
)
def test_there_is_a_worker_for_each_core_of_the_limit(
    limit: float | None, cores: float, workers: int
) -> None:
    assert module("serve_cpu").worker_count(limit, cores) == workers


def test_libraries_share_the_cores_and_a_users_own_setting_stays() -> None:
    settings = module("serve_cpu").thread_settings(8, 3, {"MKL_NUM_THREADS": "8"})
    assert settings["OMP_NUM_THREADS"] == settings["OPENBLAS_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in settings
    assert module("serve_cpu").thread_settings(0.5, 1, {})["OMP_NUM_THREADS"] == "1"


# ---- requests at once --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "cores", "after"),
    [
        pytest.param(1, 0.05, 2, id="it waits"),
        pytest.param(1, 0.6, 1, id="it shares its core with the front"),
        pytest.param(1, 1.0, 1, id="it computes"),
        pytest.param(4, 0.3, 5, id="there is room for more"),
        pytest.param(4, 0.6, 4, id="it has enough"),
        pytest.param(4, 1.0, 3, id="it computes with several"),
        pytest.param(8, 0.0, 8, id="the limit"),
        pytest.param(2, None, 3, id="an unknown use"),
    ],
)
def test_a_worker_that_waits_gets_more_and_one_that_computes_gets_less(
    target: int, cores: float | None, after: int
) -> None:
    slots = module("serve_slots")
    limits = slots.Limits(workers=1, concurrency=8, queue=0, queue_bytes=0, seconds=60)
    assert slots.next_target(target, cores, limits) == after


# ---- frames ------------------------------------------------------------------------------------------

HEADS = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(
    st.lists(st.tuples(st.sampled_from([b"A", b"C", b"E"]), HEADS, st.binary(max_size=200)), max_size=5),
    st.integers(1, 50),
)
def test_frames_come_out_as_they_went_in_whatever_the_pieces(
    frames: list[tuple[bytes, Any, bytes]], piece: int
) -> None:
    request = module("serve_request")
    sent = [request.Frame(*frame) for frame in frames]
    stream = b"".join(part for frame in sent for part in frame.parts())
    parser = request.FrameParser()
    received = [
        frame
        for start in range(0, len(stream), piece)
        for frame in parser.feed(stream[start : start + piece])
    ]
    assert received == sent


def test_a_large_body_is_not_copied_into_its_frame() -> None:
    request = module("serve_request")
    body = bytes(request.JOINED_BYTES + 1)
    assert request.Frame(b"A", None, body).parts()[1] is body


def test_a_request_and_an_answer_keep_their_parts() -> None:
    request = module("serve_request")
    asked = request.Request("POST", "/v2/models/a/infer", b"\x00\xff", {"content-type": "a/b"})
    assert request.read_request(request.request_frame(asked)) == asked
    answer = request.Answer(503, "application/json", b"{}", (("retry-after", "1"),))
    assert request.read_answer(request.answer_frame(answer, 0.5, 0.25)) == answer
