"""The server in real pods: several workers under requests, and a stream, through rollouts and a revert."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.stage import BETTER, GOOD, LOAD_FAILS, STREAMS, Stage
from tests.workbench import Load

FLOWER = {
    "columns": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"],
    "data": [[6.1, 2.8, 4.7, 1.2]],
}
TWO_WORKERS = {"workers": 2, "resources": {"requests": {"cpu": "50m"}}}


def test_pods_with_two_workers_lose_no_request_in_a_rollout_and_a_revert(stage: Stage) -> None:
    stage.create_serving("iris", server=TWO_WORKERS)
    cluster = stage.cluster
    (pod,) = cluster.pods("iris")
    url = f"/api/v1/namespaces/{cluster.name}/pods/{pod['metadata']['name']}/log"
    assert "workers: 2" in cluster.api.http.get(url, params={"container": "server"}).text
    load = Load.start(cluster, "iris", rate=20)
    stage.alias("iris", BETTER)
    cluster.until_serving("iris", BETTER)
    stage.alias("iris", LOAD_FAILS)
    cluster.until_rejected("iris", LOAD_FAILS)
    cluster.until("only version 2 is left", lambda: cluster.pod_versions("iris") == [BETTER])
    counted = load.stop()
    assert counted.failed == 0, counted.failures
    assert set(counted.answered) == {GOOD, BETTER}


def test_a_stream_that_begins_before_a_rollout_is_not_cut(stage: Stage) -> None:
    stage.create("iris", STREAMS)
    cluster = stage.cluster
    cluster.until_serving("iris", STREAMS)
    with ThreadPoolExecutor(1) as pool:
        events = stream(stage)
        assert next(events) == 'data: {"second": 0}'
        stage.alias("iris", GOOD)
        rest = pool.submit(list, events)
        cluster.until_serving("iris", GOOD)
        assert not rest.done(), "the stream was over before the rollout"
        assert rest.result()[-2:] == ['data: {"second": 29}', "data: [DONE]"]


def stream(stage: Stage) -> Iterator[str]:
    """The lines of a streamed answer of the only pod, by way of the API server."""
    (pod,) = stage.cluster.pods("iris")
    url = f"/api/v1/namespaces/{stage.cluster.name}/pods/{pod['metadata']['name']}:8080/proxy/invocations"
    body = {"dataframe_split": FLOWER, "stream": True}
    with stage.cluster.api.http.stream("POST", url, json=body, timeout=60) as answer:
        assert answer.status_code == 200
        yield from (line for line in answer.iter_lines() if line)
