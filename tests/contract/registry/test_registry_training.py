"""The trained models that the demo and the e2e suite stand on."""

from __future__ import annotations

import pytest
from tests.contract.registry.conftest import Access, ask
from tests.mlflow_server import IRIS_STORY, MlflowServer, TrainedVersion, alias, train


@pytest.fixture(scope="module")
def story(mlflow: MlflowServer) -> list[TrainedVersion]:
    """The demo's three versions."""
    return train(mlflow, IRIS_STORY)


def test_the_story_has_a_good_a_better_and_a_failing_version(story: list[TrainedVersion]) -> None:
    assert [(trained.version, trained.kind) for trained in story] == [
        ("1", "good"),
        ("2", "better"),
        ("3", "load-fails"),
    ]
    good, better, _ = story
    assert 0.7 < good.accuracy < better.accuracy


def test_the_accuracy_is_a_metric_of_the_run(mlflow: MlflowServer, story: list[TrainedVersion]) -> None:
    with mlflow.api() as api:
        run = api.get("runs/get", params={"run_id": story[0].run_id}).json()["run"]
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics["accuracy"] == pytest.approx(story[0].accuracy)


def test_every_version_has_an_example_for_the_self_test(
    mlflow: MlflowServer, story: list[TrainedVersion]
) -> None:
    for trained in story:
        with mlflow.api() as api:
            example = api.get(
                f"{mlflow.url}/model-versions/get-artifact",
                params={"name": "iris", "version": trained.version, "path": "serving_input_example.json"},
            ).json()
        assert len(example["dataframe_split"]["data"]) == 3


async def test_an_alias_can_be_set_moved_and_removed(
    mlflow: MlflowServer, admin: Access, story: list[TrainedVersion]
) -> None:
    seen = []
    for version in ("1", "2", None):
        alias(mlflow, "iris", "champion", version)
        found = (await ask(admin, "models:/iris@champion")).version
        seen.append(found and (found.version, found.run_id))
    assert seen == [("1", story[0].run_id), ("2", story[1].run_id), None]
