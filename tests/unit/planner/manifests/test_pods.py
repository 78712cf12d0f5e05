"""What the pods and the objects around them look like, where a golden file would hide the point."""

import copy
from typing import Any

import pytest

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.revision import Revision, Target
from model_operator.domain.world import PodRegistry
from model_operator.planner.manifests import (
    ANNOTATION_BODY,
    Owner,
    TemplateInputs,
    autoscaler,
    deployment,
    differs,
    disruption_budget,
    extract_pod_spec,
    initial_replicas,
    pod_template,
    preview_service,
    scripts_config_map,
    service,
    track_selector,
)

OWNER = Owner("crm", "churn", "uid-1")
OPEN = PodRegistry("http://mlflow:5000")


def spec(**parts: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": {"name": "churn", "alias": "champion"}, **parts})


def template(
    registry: PodRegistry = OPEN,
    model: str = "churn",
    revision: str = "v8-0123456789",
    digest: str = "",
    **parts: Any,
) -> dict[str, Any]:
    target = Target(registry.url, model, "8", "", "", digest, extract_pod_spec(parts))
    images = {"server": "example.com/server:1", "fetch": "example.com/fetch:1"}
    return pod_template(
        TemplateInputs(OWNER, spec(**parts), target, revision, images, "churn-scripts-0", registry)
    )


def fetch(**given: Any) -> dict[str, Any]:
    (container,) = template(**given)["spec"]["initContainers"]
    return dict(container)


def server(**given: Any) -> dict[str, Any]:
    (container,) = template(**given)["spec"]["containers"]
    return dict(container)


def env(container: dict[str, Any]) -> dict[str, Any]:
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names))
    return {
        variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]
    }


def key_of(secret: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": secret, "key": key}}


# --- identity --------------------------------------------------------------------------------------


def test_the_pods_carry_an_exact_version_and_never_the_alias() -> None:
    rendered = template()
    annotations = rendered["metadata"]["annotations"]
    assert annotations["model-operator.io/model"] == "churn"
    assert annotations["model-operator.io/version"] == "8"
    assert env(fetch())["MODEL_VERSION"] == env(server())["MODEL_VERSION"] == "8"
    assert "champion" not in repr(rendered)


def test_the_operators_labels_win_over_the_users() -> None:
    rendered = template(pod={"labels": {"team": "growth"}, "annotations": {"a": "b"}})
    assert rendered["metadata"]["labels"]["team"] == "growth"
    assert track_selector(OWNER).items() <= rendered["metadata"]["labels"].items()
    assert rendered["metadata"]["labels"]["model-operator.io/revision"] == "v8-0123456789"
    assert rendered["metadata"]["annotations"]["a"] == "b"


@pytest.mark.parametrize(
    "outside_the_pod",
    [
        pytest.param({"replicas": 7}, id="replicas"),
        pytest.param({"autoscaling": {"maxReplicas": 9}}, id="autoscaling"),
        pytest.param({"service": {"port": 81}}, id="the service"),
        pytest.param({"rollout": {"startupSeconds": 5, "maxSurge": 2}}, id="the rollout"),
        pytest.param({"revert": {"historyLimit": 3}}, id="the history"),
    ],
)
def test_what_does_not_shape_the_pods_restarts_none(outside_the_pod: dict[str, Any]) -> None:
    assert template(**outside_the_pod) == template()


def test_a_models_name_is_not_taken_for_a_reference_to_a_variable() -> None:
    assert env(server(model="$(HOME) costs 5$"))["MODEL_NAME"] == "$$(HOME) costs 5$$"


# --- the registry ----------------------------------------------------------------------------------


def test_only_the_fetching_container_gets_credentials_and_only_by_reference() -> None:
    registry = PodRegistry("http://m", secret="mlflow", secret_keys=frozenset({"username", "password"}))
    variables = env(fetch(registry=registry))
    assert variables["MLFLOW_TRACKING_USERNAME"] == key_of("mlflow", "username")
    assert variables["MLFLOW_TRACKING_PASSWORD"] == key_of("mlflow", "password")
    assert "MLFLOW_TRACKING_TOKEN" not in variables
    assert not any(name.startswith("MLFLOW") for name in env(server(registry=registry)))


def test_a_secret_with_a_token_gives_a_token() -> None:
    variables = env(fetch(registry=PodRegistry("http://m", "mlflow", frozenset({"token"}))))
    assert variables["MLFLOW_TRACKING_TOKEN"] == key_of("mlflow", "token")
    assert "MLFLOW_TRACKING_USERNAME" not in variables


def test_of_a_secret_that_nobody_could_look_into_every_key_is_tried() -> None:
    variables = env(fetch(registry=PodRegistry("http://m", "mlflow")))
    for key in ("username", "password", "token"):
        reference = {"name": "mlflow", "key": key, "optional": True}
        assert variables[f"MLFLOW_TRACKING_{key.upper()}"] == {"secretKeyRef": reference}


def test_a_registry_without_credentials_leaves_them_to_the_user() -> None:
    given = {"env": [{"name": "MLFLOW_TRACKING_TOKEN", "valueFrom": key_of("mine", "t")}]}
    assert env(fetch(fetch=given))["MLFLOW_TRACKING_TOKEN"] == key_of("mine", "t")


def test_only_the_fetching_container_is_told_the_workspace():
    rendered = template(registry=PodRegistry("https://m", workspace="north"))["spec"]
    (fetch,), (server,) = rendered["initContainers"], rendered["containers"]
    assert {"name": "MLFLOW_WORKSPACE", "value": "north"} in fetch["env"]
    assert "MLFLOW_WORKSPACE" not in {variable["name"] for variable in server["env"]}


def test_the_registrys_ca_is_mounted_where_the_variable_says() -> None:
    rendered = template(registry=PodRegistry("https://m", ca_config_map="mlflow-ca"))
    container = rendered["spec"]["initContainers"][0]
    path = env(container)["MLFLOW_TRACKING_SERVER_CERT_PATH"]
    (mount,) = (m for m in container["volumeMounts"] if path == f"{m['mountPath']}/ca.crt")
    (volume,) = (v for v in rendered["spec"]["volumes"] if v["name"] == mount["name"])
    assert volume["configMap"]["name"] == "mlflow-ca"


def test_a_client_certificate_is_mounted_into_the_fetching_container_only() -> None:
    certificate = frozenset({"tls.crt", "tls.key"})
    rendered = template(registry=PodRegistry("https://m", secret="mlflow", secret_keys=certificate))["spec"]
    (volume,) = (v for v in rendered["volumes"] if v.get("secret"))
    assert volume["secret"]["secretName"] == "mlflow"
    assert [item["key"] for item in volume["secret"]["items"]] == ["tls.crt", "tls.key"]
    (fetching,), (serving,) = rendered["initContainers"], rendered["containers"]
    (mount,) = (m for m in fetching["volumeMounts"] if m["name"] == volume["name"])
    assert mount["readOnly"]
    assert env(fetching)["REGISTRY_CLIENT_CERT_DIR"] == mount["mountPath"]
    assert volume["name"] not in {m["name"] for m in serving["volumeMounts"]}
    assert "REGISTRY_CLIENT_CERT_DIR" not in env(serving)


def test_the_fetching_container_mounts_what_is_asked_for_and_never_over_what_is_ours() -> None:
    mounts = [
        {"name": "ca", "mountPath": "/store-ca", "readOnly": True},
        {"name": "ca", "mountPath": "/model/"},
    ]
    mounted = fetch(fetch={"volumeMounts": mounts})["volumeMounts"]
    assert mounted == [*fetch()["volumeMounts"], mounts[0]]


def test_pods_reach_unity_catalog_as_mlflows_client_expects_it() -> None:
    registry = PodRegistry(
        "https://dbc-1.example.com", "databricks", frozenset({"token", "username"}), type="UnityCatalog"
    )
    rendered = template(registry=registry, model="ml.crm.churn")["spec"]
    variables = env(rendered["initContainers"][0])
    assert variables["MLFLOW_REGISTRY_URI"] == "databricks-uc"
    assert variables["MLFLOW_TRACKING_URI"] == "databricks"
    assert variables["DATABRICKS_HOST"] == "https://dbc-1.example.com"
    assert variables["DATABRICKS_TOKEN"] == key_of("databricks", "token")
    assert not any(
        name.startswith("MLFLOW_TRACKING_") and name != "MLFLOW_TRACKING_URI" for name in variables
    )
    assert not any(name.startswith("DATABRICKS") for name in env(rendered["containers"][0]))


# --- environment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["MODEL_NAME", "MODEL_VERSION", "MODEL_DIR", "SERVER_PORT", "SELF_TEST_MODE", "DRAIN_SECONDS"]
)
def test_a_users_variable_does_not_replace_one_of_the_servers(name: str) -> None:
    assert env(server(server={"env": [{"name": name, "value": "x"}]}))[name] == env(server())[name]


@pytest.mark.parametrize("name", ["MODEL_NAME", "MODEL_VERSION", "MODEL_DIR", "MLFLOW_TRACKING_URI"])
def test_a_users_variable_does_not_replace_one_of_the_fetching_containers(name: str) -> None:
    assert env(fetch(fetch={"env": [{"name": name, "value": "x"}]}))[name] == env(fetch())[name]


def test_a_users_variable_replaces_a_mere_default() -> None:
    given = {"env": [{"name": "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "value": "9"}]}
    assert env(fetch(fetch=given))["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "9"


@pytest.mark.parametrize(("grace", "drain"), [(10, "3"), (60, "53"), (3600, "3593")])
def test_the_drain_ends_before_the_kubelet_kills(grace: int, drain: str) -> None:
    container = server(pod={"terminationGracePeriodSeconds": grace})
    assert env(container)["DRAIN_SECONDS"] == drain
    assert int(drain) + container["lifecycle"]["preStop"]["sleep"]["seconds"] < grace


_CHOSEN = ("SERVER_WORKERS", "MAX_CONCURRENCY", "MAX_QUEUE")


def test_workers_and_queue_are_variables_of_the_server_only() -> None:
    given = {"server": {"workers": 2, "maxConcurrency": 16, "maxQueue": 0}}
    assert [env(server(**given))[name] for name in _CHOSEN] == ["2", "16", "0"]
    assert not env(fetch(**given)).keys() & set(_CHOSEN)


def test_a_batch_is_two_variables_of_the_server() -> None:
    names = ("BATCH_MAX_ROWS", "BATCH_MAX_WAIT_MILLISECONDS")
    variables = env(server(server={"batch": {"maxRows": 64}}))
    assert [variables[name] for name in names] == ["64", "5"]
    assert not env(server()).keys() & set(names)


def test_workers_and_queue_that_are_left_out_are_decided_in_the_pod() -> None:
    assert not env(server()).keys() & set(_CHOSEN)
    assert "MAX_QUEUE" not in env(server(server={"workers": 2}))


@pytest.mark.parametrize(
    ("name", "field"), [*zip(_CHOSEN, ("workers", "maxConcurrency", "maxQueue"), strict=True)]
)
def test_a_users_variable_does_not_replace_a_field_that_is_set(name: str, field: str) -> None:
    given = {"env": [{"name": name, "value": "7"}]}
    assert env(server(server=given | {field: 3}))[name] == "3"
    assert env(server(server=given))[name] == "7", "without the field the pod renders as it did before"


# --- probes ----------------------------------------------------------------------------------------


def test_the_kubelet_waits_longer_for_a_start_than_the_longest_deadline() -> None:
    probe = server()["startupProbe"]
    longest = ModelDeploymentSpec.model_json_schema()["$defs"]["RolloutSpec"]["properties"]["startupSeconds"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > longest["maximum"]


def test_a_users_probe_changes_only_what_it_names() -> None:
    container = server(
        server={"probes": {"readiness": {"periodSeconds": 1, "httpGet": {"path": "/v2/ready"}}}}
    )
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/v2/ready", "port": "http", "scheme": "HTTP"},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }
    assert container["livenessProbe"] == server()["livenessProbe"]


@pytest.mark.parametrize(
    "handler", [{"tcpSocket": {"port": 1}}, {"grpc": {"port": 1}}, {"exec": {"command": ["a"]}}]
)
def test_a_users_way_to_probe_replaces_ours(handler: dict[str, Any]) -> None:
    probe = server(server={"probes": {"liveness": handler}})["livenessProbe"]
    assert handler.items() <= probe.items()
    assert "httpGet" not in probe


def test_an_image_of_the_users_own_is_probed_on_its_health_path_and_runs_its_own_command() -> None:
    container = server(server={"runtime": "Custom", "image": "a/b", "args": ["--x"]})
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == "/health"
    assert "command" not in container
    assert container["args"] == ["--x"]
    assert not any(name.startswith("SELF_TEST") for name in env(container))


# --- security --------------------------------------------------------------------------------------


def test_by_default_the_pods_pass_the_restricted_pod_security_standard() -> None:
    rendered = template()["spec"]
    assert rendered["securityContext"]["runAsNonRoot"] is True
    assert rendered["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*rendered["initContainers"], *rendered["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


def test_a_users_security_context_changes_only_what_it_names_and_a_null_takes_away() -> None:
    rendered = template(
        pod={"securityContext": {"runAsUser": None, "fsGroup": 5}},
        server={"securityContext": {"capabilities": {"add": ["SYS_NICE"]}}},
    )["spec"]
    assert rendered["securityContext"] == {
        "runAsNonRoot": True,
        "runAsGroup": 65532,
        "fsGroup": 5,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    capabilities = rendered["containers"][0]["securityContext"]["capabilities"]
    assert capabilities == {"drop": ["ALL"], "add": ["SYS_NICE"]}
    assert rendered["initContainers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("account", [{}, {"serviceAccountName": "churn"}])
def test_a_token_for_the_api_server_is_mounted_only_where_that_is_asked_for(account: dict[str, str]) -> None:
    assert template(pod=account)["spec"]["automountServiceAccountToken"] is False
    asked = template(pod={**account, "automountServiceAccountToken": True})["spec"]
    assert asked["automountServiceAccountToken"] is True
    assert asked.get("serviceAccountName") == account.get("serviceAccountName")


# --- volumes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/model", "/model/", "/opt/model-operator"])
def test_a_users_mount_does_not_cover_ours(path: str) -> None:
    given = {"volumeMounts": [{"name": "mine", "mountPath": path}]}
    container = server(server=given, pod={"volumes": [{"name": "mine", "emptyDir": {}}]})
    assert container["volumeMounts"] == server()["volumeMounts"]


def test_a_users_mount_of_tmp_replaces_ours() -> None:
    mounts = server(server={"volumeMounts": [{"name": "mine", "mountPath": "/tmp"}]})["volumeMounts"]
    assert [mount["name"] for mount in mounts if mount["mountPath"] == "/tmp"] == ["mine"]


def test_every_mount_has_its_volume() -> None:
    payload = {"payload": {"configMap": {"name": "smoke", "key": "req.json"}}}
    rendered = template(registry=PodRegistry("https://m", ca_config_map="ca"), selfTest=payload)["spec"]
    volumes = [volume["name"] for volume in rendered["volumes"]]
    assert len(volumes) == len(set(volumes))
    for container in (*rendered["initContainers"], *rendered["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)


def test_the_payload_is_mounted_where_the_variable_says() -> None:
    rendered = template(selfTest={"payload": {"configMap": {"name": "smoke", "key": "req.json"}}})
    container = rendered["spec"]["containers"][0]
    (volume,) = (v for v in rendered["spec"]["volumes"] if v["name"] == "payload")
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "payload")
    (item,) = volume["configMap"]["items"]
    assert item["key"] == "req.json"
    assert env(container)["SELF_TEST_PAYLOAD_FILE"] == f"{mount['mountPath']}/{item['path']}"


def test_the_scripts_are_named_by_what_they_say() -> None:
    one, other = ({"serve.py": text} for text in ("a", "b"))
    name = scripts_config_map(OWNER, one)["metadata"]["name"]
    assert name.startswith("churn-scripts-")
    assert name == scripts_config_map(OWNER, dict(one))["metadata"]["name"]
    assert name != scripts_config_map(OWNER, other)["metadata"]["name"]
    assert scripts_config_map(OWNER, one)["immutable"] is True


# --- the objects around the pods -------------------------------------------------------------------


def revision(**parts: Any) -> Revision:
    target = Target("http://m", "churn", "8", "", "", "", {})
    return Revision("v8-0123456789", 1, target, {}, template(**parts), "churn-scripts-0")


def test_the_deployment_runs_the_kept_template_whatever_the_spec_says_now() -> None:
    kept = revision()
    body = deployment(OWNER, spec(server={"port": 9999}), kept)
    assert body["spec"]["template"] == kept.template
    body["spec"]["template"]["spec"]["volumes"].clear()
    assert kept.template["spec"]["volumes"]


def test_the_deadline_of_kubernetes_comes_after_all_of_ours() -> None:
    rollout = {"schedulingSeconds": 1, "fetchSeconds": 2, "startupSeconds": 3}
    body = deployment(OWNER, spec(rollout=rollout), revision())["spec"]
    assert body["progressDeadlineSeconds"] == 66
    assert body["progressDeadlineSeconds"] > body["minReadySeconds"]


@pytest.mark.parametrize(
    ("parts", "replicas"),
    [
        pytest.param({}, 1, id="nothing said"),
        pytest.param({"replicas": 3}, 3, id="replicas"),
        pytest.param({"replicas": 0}, 0, id="no replicas"),
        pytest.param({"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}, 2, id="an autoscaler's least"),
        pytest.param({"autoscaling": {"maxReplicas": 5}}, 1, id="an autoscaler without a least"),
    ],
)
def test_a_deployment_starts_with_as_many_pods_as_the_spec_says(parts: dict[str, Any], replicas: int) -> None:
    assert initial_replicas(spec(**parts)) == replicas


@pytest.mark.parametrize(
    ("scaling", "kinds"),
    [
        pytest.param({}, [("cpu", 70)], id="CPU by default"),
        pytest.param({"targetCPUUtilizationPercentage": 50}, [("cpu", 50)], id="CPU as said"),
        pytest.param({"metrics": [{"type": "Pods"}]}, [("Pods", None)], id="other metrics and no CPU"),
        pytest.param(
            {"metrics": [{"type": "Pods"}], "targetCPUUtilizationPercentage": 50},
            [("cpu", 50), ("Pods", None)],
            id="both",
        ),
    ],
)
def test_an_autoscaler_looks_at_what_was_said(scaling: dict[str, Any], kinds: list[Any]) -> None:
    body = autoscaler(OWNER, spec(autoscaling={"maxReplicas": 5, **scaling}))
    assert body is not None
    found = [
        (metric["resource"]["name"], metric["resource"]["target"]["averageUtilization"])
        if metric["type"] == "Resource"
        else (metric["type"], None)
        for metric in body["spec"]["metrics"]
    ]
    assert found == kinds


def test_without_autoscaling_there_is_no_autoscaler() -> None:
    assert autoscaler(OWNER, spec()) is None


def test_a_field_that_is_wanted_no_longer_shows_in_the_mark_of_the_body() -> None:
    before = service(OWNER, spec(service={"annotations": {"a": "b"}}))
    after = service(OWNER, spec())
    assert differs(after, before) == [f"metadata.annotations[{ANNOTATION_BODY}]"]


def test_every_selector_is_the_track() -> None:
    selector = track_selector(OWNER)
    assert deployment(OWNER, spec(), revision())["spec"]["selector"] == {"matchLabels": selector}
    assert service(OWNER, spec())["spec"]["selector"] == selector
    assert disruption_budget(OWNER, spec())["spec"]["selector"] == {"matchLabels": selector}
    assert selector == {"model-operator.io/deployment": "churn", "model-operator.io/track": "churn"}


def test_the_second_track_has_all_selectors_of_its_own_and_the_other_objects_keep_their_names() -> None:
    selector = {"model-operator.io/deployment": "churn", "model-operator.io/track": "churn-green"}
    given = spec(autoscaling={"maxReplicas": 3})
    green = deployment(OWNER, given, revision(), "churn-green")
    before, scaler = service(OWNER, given, "churn-green"), autoscaler(OWNER, given, "churn-green")
    budget = disruption_budget(OWNER, given, "churn-green")
    assert scaler is not None
    assert green["metadata"]["name"] == scaler["spec"]["scaleTargetRef"]["name"] == "churn-green"
    assert green["spec"]["selector"] == budget["spec"]["selector"] == {"matchLabels": selector}
    assert before["spec"]["selector"] == selector
    assert {body["metadata"]["name"] for body in (before, scaler, budget)} == {"churn"}


def test_of_the_kept_template_only_the_label_of_the_track_changes() -> None:
    kept = revision()
    rendered = deployment(OWNER, spec(), kept, "churn-green")["spec"]["template"]
    assert rendered["metadata"]["labels"].pop("model-operator.io/track") == "churn-green"
    assert kept.template["metadata"]["labels"].pop("model-operator.io/track") == "churn"
    assert rendered == kept.template


@pytest.mark.parametrize(
    "build", [deployment, service, autoscaler, disruption_budget], ids=lambda build: build.__name__
)
def test_the_first_track_named_or_not_is_the_same(build: Any) -> None:
    given = [OWNER, spec(autoscaling={"maxReplicas": 3}), *([revision()] if build is deployment else [])]
    assert build(*given) == build(*given, "churn")


def test_a_track_without_traffic_is_replaced_at_once_and_without_more_pods() -> None:
    given, kept = spec(rollout={"maxSurge": 2, "maxUnavailable": 0}), revision()
    quiet = deployment(OWNER, given, kept, in_traffic=False)["spec"]
    busy = deployment(OWNER, given, kept)["spec"]
    assert quiet.pop("strategy")["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "100%"}
    assert busy.pop("strategy")["rollingUpdate"] == {"maxSurge": 2, "maxUnavailable": 0}
    assert quiet == busy


def test_a_preview_stays_in_the_cluster_whatever_the_service_is() -> None:
    given = spec(service={"type": "LoadBalancer", "port": 81, "annotations": {"dns": "churn.example.com"}})
    body = preview_service(OWNER, given, "churn-green")
    assert body["metadata"]["name"] == "churn-candidate"
    assert set(body["metadata"]["annotations"]) == {ANNOTATION_BODY}
    assert "model-operator.io/track" not in body["metadata"]["labels"]
    assert (body["spec"]["type"], body["spec"]["ports"][0]["port"]) == ("ClusterIP", 81)
    assert body["spec"]["selector"] == track_selector(OWNER, "churn-green")


def test_only_the_fetching_container_is_told_a_digest_and_only_where_there_is_one() -> None:
    assert env(fetch(digest="sha256:00"))["MODEL_DIGEST"] == "sha256:00"
    assert "MODEL_DIGEST" not in env(server(digest="sha256:00"))
    assert "MODEL_DIGEST" not in env(fetch())


def test_building_changes_nothing_it_was_given() -> None:
    given = spec(autoscaling={"maxReplicas": 3, "metrics": [{"type": "Pods"}], "behavior": {"scaleUp": {}}})
    before, kept = copy.deepcopy(given), revision()
    body = autoscaler(OWNER, given)
    assert body is not None
    body["spec"]["metrics"].clear()
    body["spec"]["behavior"]["scaleUp"]["x"] = 1
    deployment(OWNER, given, kept)["spec"]["template"]["metadata"].clear()
    service(OWNER, given)["metadata"]["labels"].clear()
    assert given == before
    assert kept == revision()
