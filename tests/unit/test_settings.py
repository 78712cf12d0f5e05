"""The operator's configuration file: what is accepted, what is refused and with which words."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from model_operator import settings
from model_operator.settings import SettingsError

SMALLEST = "registries: {default: {url: 'http://mlflow:5000'}}\n"
WHOLE = """
registries:
  default:
    url: http://mlflow.mlflow.svc:5000/
    podUrl: https://mlflow.example.com
    credentialsDir: /etc/registry
    caFile: /etc/registry/ca.crt
    podCredentials: {secret: mlflow-credentials}
    podCa: {configMap: mlflow-ca}
  other:
    url: https://other.example.com/mlflow
pollSeconds: 2.5
clusterName: prod-eu.1
images: {server: "example.com/server:1", fetch: "example.com/fetch:1"}
maxConcurrentRollouts: 3
workers: 4
watchNamespaces: [crm, shop]
resyncSeconds: 1.5
metricsPort: 9090
logLevel: DEBUG
webhooks: {port: 9443, certificateDir: /etc/tls, secretDir: /etc/secrets, maxAgeSeconds: 60}
"""


def test_a_file_that_names_one_registry_gets_defaults_for_everything_else(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SMALLEST)
    loaded = settings.load(file)
    assert loaded.registries["default"].url == "http://mlflow:5000"
    assert loaded.registries["default"].url_for_pods == "http://mlflow:5000"
    assert loaded.registries["default"].pod_credentials.secret == ""
    assert (loaded.poll_seconds, loaded.workers, loaded.max_concurrent_rollouts) == (15, 8, 5)
    assert loaded.resync_seconds == 600
    assert loaded.watch_namespaces == ()
    assert loaded.cluster_name == "default"
    assert loaded.images.fetch_image == loaded.images.server == settings.DEFAULT_SERVER_IMAGE


def test_every_key_of_the_file_arrives() -> None:
    loaded = settings.parse(WHOLE, "config.yaml")
    registry = loaded.registries["default"]
    assert registry.url == "http://mlflow.mlflow.svc:5000"
    assert registry.url_for_pods == "https://mlflow.example.com"
    assert registry.credentials_dir == "/etc/registry"
    assert registry.ca_file == "/etc/registry/ca.crt"
    assert registry.pod_credentials.secret == "mlflow-credentials"
    assert registry.pod_ca.config_map == "mlflow-ca"
    assert loaded.registries["other"].url == "https://other.example.com/mlflow"
    assert loaded.images.fetch_image == "example.com/fetch:1"
    assert (loaded.poll_seconds, loaded.workers, loaded.max_concurrent_rollouts) == (2.5, 4, 3)
    assert loaded.resync_seconds == 1.5
    assert loaded.watch_namespaces == ("crm", "shop")
    assert loaded.cluster_name == "prod-eu.1"
    assert (loaded.metrics_port, loaded.log_level) == (9090, "DEBUG")
    assert (loaded.webhooks.port, loaded.webhooks.max_age_seconds) == (9443, 60)
    assert (loaded.webhooks.certificate_dir, loaded.webhooks.secret_dir) == ("/etc/tls", "/etc/secrets")


def test_settings_cannot_be_changed_once_read() -> None:
    loaded = settings.parse(SMALLEST, "config.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        loaded.workers = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "must be a mapping", id="an empty file"),
        pytest.param("- a\n", "must be a mapping", id="a list"),
        pytest.param("a: [", "is not YAML", id="broken YAML"),
        pytest.param(b"\xff\xfe\xfa", "is not YAML", id="no text at all"),
        pytest.param("pollSeconds: 15\n", "registries: is missing", id="no registry key"),
        pytest.param("registries: {}\n", "registries: ", id="no registry"),
        pytest.param(
            SMALLEST + "webhooks: {port: 9443}\n",
            "webhooks: port needs secretDir",
            id="webhooks that nobody signs",
        ),
        pytest.param("registries: {default: {}}\n", "registries.default.url: is missing", id="no URL"),
        pytest.param(
            "registries: {default: {ulr: 'http://a'}}\n",
            r"registries.default.ulr: unknown key, known here: caFile, .*url",
            id="a misspelt key of a registry",
        ),
        pytest.param(
            SMALLEST + "polSeconds: 3\n",
            "polSeconds: unknown key, known here: .*pollSeconds",
            id="a misspelt key",
        ),
        pytest.param(
            SMALLEST + "images: {sever: a}\n",
            "images.sever: unknown key, known here: contents, fetch, server",
            id="a misspelt key of a section",
        ),
        pytest.param(SMALLEST + "pollSeconds: 0\n", "pollSeconds: .*greater", id="polling without a pause"),
        pytest.param(
            SMALLEST + "resyncSeconds: 0.5\n",
            "resyncSeconds: .*greater than or equal to 1$",
            id="listing almost without a pause",
        ),
        pytest.param(
            SMALLEST + "resyncSeconds: 86400\n",
            "resyncSeconds: .*less than or equal to 3600$",
            id="listing once a day",
        ),
        pytest.param(SMALLEST + "workers: many\n", "workers: .*integer", id="a word for a number"),
        pytest.param(SMALLEST + "logLevel: loud\n", "logLevel: .*'DEBUG'", id="an unknown log level"),
        pytest.param(SMALLEST + "images: {server: ''}\n", "images.server: ", id="an empty image"),
        pytest.param(
            SMALLEST + "watchNamespaces: [A_b]\n", "watchNamespaces.0: must be", id="a bad namespace"
        ),
        pytest.param(SMALLEST + "clusterName: a/b\n", "clusterName: must be letters", id="a slash in a name"),
        pytest.param(SMALLEST + "clusterName: ''\n", "clusterName: must be letters", id="no cluster name"),
        pytest.param(SMALLEST + "clusterName: ..\n", "clusterName: must be letters", id="a path as a name"),
        pytest.param(
            SMALLEST + f"clusterName: {'a' * 64}\n", "clusterName: .*63", id="a name that is too long"
        ),
        pytest.param(
            "registries: {default: {url: 'mlflow:5000'}}\n",
            "registries.default.url: must be a URL such as",
            id="a URL without a scheme",
        ),
        pytest.param(
            "registries: {default: {url: 'http://mlflow:port'}}\n",
            "registries.default.url: is not a URL",
            id="a URL with a bad port",
        ),
        pytest.param(
            "registries: {'no name': {url: 'http://a'}}\n",
            "registries.no name: must be lower-case",
            id="a bad name of a registry",
        ),
        pytest.param(
            "registries: {default: {url: 'http://a', podCredentials: {secret: 'A B'}}}\n",
            "registries.default.podCredentials.secret: must be the name of a Kubernetes object",
            id="a bad name of a Secret",
        ),
        pytest.param(
            SMALLEST + "leaderElection: {enabled: true}\n",
            "leaderElection: enabled needs namespace and leaseName",
            id="an election without a place for its Lease",
        ),
        pytest.param(
            SMALLEST + "leaderElection: {leaseSeconds: 10}\n",
            "leaderElection: renewSeconds must be less than leaseSeconds",
            id="a leader that outlasts its Lease",
        ),
        pytest.param(
            SMALLEST + "leaderElection: {retrySeconds: 5}\n",
            "leaderElection: .*more than twice retrySeconds",
            id="a leader that one lost answer costs the lead",
        ),
    ],
)
def test_a_bad_file_is_refused_with_a_message_that_names_the_key(text: str | bytes, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        settings.parse(text, "config.yaml")
    assert str(refused.value).startswith("config.yaml: ")


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="must not contain credentials") as refused:
        settings.parse("registries: {default: {url: 'http://me:hunter2@mlflow'}}", "config.yaml")
    assert "hunter2" not in str(refused.value)


def test_a_missing_file_is_named_together_with_the_way_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read.*MODEL_OPERATOR_CONFIG"):
        settings.load(tmp_path / "nowhere.yaml")
