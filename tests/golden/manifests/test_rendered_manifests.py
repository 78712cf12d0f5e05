"""Everything that is rendered for a spec, as YAML to read; and the API's own models as a judge of each field.

A case is a file ``NAME.spec.yaml`` in this directory; ``NAME.yaml`` is what came out.
`pytest tests/golden/manifests --update-golden` writes the latter anew.
"""

import copy
from pathlib import Path
from typing import Any

import kubernetes.aio.client as kubernetes
import pytest
import yaml

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.revision import Revision, Target
from model_operator.domain.world import Defaults, PodRegistry
from model_operator.planner.manifests import (
    Owner,
    TemplateInputs,
    autoscaler,
    controller_revision,
    deployment,
    differs,
    disruption_budget,
    extract_pod_spec,
    pod_template,
    preview_service,
    resolve_images,
    revision_name,
    scripts_config_map,
    service,
)

HERE = Path(__file__).parent
CASES = sorted(path.name.removesuffix(".spec.yaml") for path in HERE.glob("*.spec.yaml"))

OWNER = Owner(namespace="crm", name="churn", uid="0b1c5f0e-7a55-4f0a-9a43-3f6a0c1f2d11")
DEFAULTS = Defaults(
    server_image="model-operator.io/server:dev",
    fetch_image="",
    scripts={"fetch.py": "print('fetch')\n", "serve.py": "print('serve')\n"},
)
TAGS = {"serving_image": "registry.example.com/models/churn:2026-11"}
OPEN = PodRegistry(url="http://mlflow.mlflow.svc:5000")
GUARDED = PodRegistry(
    url="https://mlflow.example.com",
    secret="mlflow",
    secret_keys=frozenset({"username", "password"}),
    ca_config_map="mlflow-ca",
)
MODELS: dict[str, Any] = {
    "ConfigMap": kubernetes.V1ConfigMap,
    "ControllerRevision": kubernetes.V1ControllerRevision,
    "Deployment": kubernetes.V1Deployment,
    "HorizontalPodAutoscaler": kubernetes.V2HorizontalPodAutoscaler,
    "PodDisruptionBudget": kubernetes.V1PodDisruptionBudget,
    "Service": kubernetes.V1Service,
}


def render(case: str) -> list[dict[str, Any]]:
    raw = yaml.safe_load((HERE / f"{case}.spec.yaml").read_text())
    before = copy.deepcopy(raw)
    spec = ModelDeploymentSpec.model_validate(raw)
    registry = OPEN if case == "minimal" else GUARDED
    target = Target(registry.url, "churn", "8", "225f", "models:/m-e70f", "", extract_pod_spec(raw))
    images = resolve_images(spec, DEFAULTS, TAGS)
    assert isinstance(images, dict)
    scripts = scripts_config_map(OWNER, DEFAULTS.scripts)
    name, config_map = revision_name(target), scripts["metadata"]["name"]
    template = pod_template(TemplateInputs(OWNER, spec, target, name, images, config_map, registry))
    revision = Revision(name, 1, target, images, template, config_map)
    objects = [
        scripts,
        controller_revision(OWNER, revision),
        deployment(OWNER, spec, revision),
        service(OWNER, spec),
        autoscaler(OWNER, spec),
        disruption_budget(OWNER, spec),
    ]
    if case == "second-track":
        green = "churn-green"
        objects = [
            deployment(OWNER, spec, revision, in_traffic=False),
            deployment(OWNER, spec, revision, green),
            service(OWNER, spec, green),
            preview_service(OWNER, spec, green),
            autoscaler(OWNER, spec, green),
            disruption_budget(OWNER, spec, green),
        ]
    assert raw == before
    assert spec == ModelDeploymentSpec.model_validate(raw)
    return [obj for obj in objects if obj is not None]


def as_yaml(objects: list[dict[str, Any]]) -> str:
    class Plain(yaml.SafeDumper):
        """YAML without anchors, which are hard to read."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump_all(objects, Dumper=Plain, sort_keys=False, width=110)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES)
def test_the_rendering_is_the_golden_one(case: str, request: pytest.FixtureRequest) -> None:
    golden, rendered = HERE / f"{case}.yaml", as_yaml(render(case))
    if request.config.getoption("--update-golden"):
        golden.write_text(rendered)
    assert rendered == golden.read_text(), (
        "run `pytest tests/golden/manifests --update-golden`, then read the diff"
    )


@pytest.mark.parametrize("case", CASES)
def test_the_apis_own_models_know_every_field(case: str) -> None:
    for body in render(case):
        read = MODELS[body["kind"]].model_validate(body)
        written = read.model_dump(by_alias=True, exclude_none=True, mode="json")
        assert differs(body, written) == []


@pytest.mark.parametrize("case", CASES)
def test_rendering_twice_gives_the_same_bytes(case: str) -> None:
    assert as_yaml(render(case)) == as_yaml(render(case))


@pytest.mark.parametrize("case", CASES)
def test_no_body_sets_replicas_or_holds_a_null(case: str) -> None:
    for body in render(case):
        assert "replicas" not in body.get("spec", {})
        # a kept target is as it was written, nulls and all
        assert body["kind"] == "ControllerRevision" or without_nulls(body) == body


def test_every_golden_file_belongs_to_a_case() -> None:
    rendered = {path.name for path in HERE.glob("*.yaml") if not path.name.endswith(".spec.yaml")}
    assert rendered == {f"{case}.yaml" for case in CASES}
    assert {"minimal", "full", "custom"} <= set(CASES)
