"""What the API server accepts and refuses, in which words, and that the operator's own reader agrees."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import httpx
import pytest
from tests.cluster.api import ApiClient
from tests.unit.api.api_cases import ACCEPTED, ALIAS, MALFORMED_URIS, REFUSED, UNKNOWN_FIELDS, examples

from model_operator.api import SpecError, parse
from model_operator.api.names import API_VERSION, KIND

PATH = "/apis/model-operator.io/v1alpha1/namespaces/default/modeldeployments"

Create = Callable[..., httpx.Response]


@pytest.fixture
def create(api: ApiClient) -> Create:
    """Ask the API server to create an object; it goes through everything but the storing."""

    def ask(spec: Any, name: str = "churn", validation: str = "Strict") -> httpx.Response:
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
        return api.http.post(PATH, params={"dryRun": "All", "fieldValidation": validation}, json=body)

    return ask


def is_read(spec: Any) -> bool:
    """Whether the operator's own reader takes the spec."""
    try:
        parse({"metadata": {"name": "churn", "namespace": "default"}, "spec": spec})
    except SpecError:
        return False
    return True


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_bad_spec_is_refused_with_the_field_and_the_remedy(create, case):
    answer = create(case.spec)
    assert answer.status_code == 422, answer.text
    for words in case.says:
        assert words in answer.json()["message"]


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_good_spec_is_accepted_and_read_back(create, spec):
    answer = create(spec)
    assert answer.status_code == 201, answer.text
    assert parse(answer.json()).spec.model.reference().name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("x" * 41, id="longer than 40 characters"),
        pytest.param("1churn", id="a digit comes first"),
        pytest.param("churn.v1", id="a dot inside"),
    ],
)
def test_a_name_that_no_service_can_have_is_refused(create, name):
    answer = create(ALIAS, name=name)
    assert answer.status_code == 422, answer.text
    assert "metadata.name must be at most 40 characters" in answer.json()["message"]


def test_the_longest_name_is_accepted(create):
    assert create(ALIAS, name="x" * 40).status_code == 201


@pytest.mark.parametrize(
    ("spec", "field"), [case[1:] for case in UNKNOWN_FIELDS], ids=[case[0] for case in UNKNOWN_FIELDS]
)
def test_an_unknown_field_is_refused_by_strict_validation_and_dropped_otherwise(create, spec, field):
    strict = create(spec)
    assert strict.status_code == 400, strict.text
    assert f'unknown field "{field}"' in strict.json()["message"]
    pruned: Any = create(spec, validation="Ignore")
    assert pruned.status_code == 201, pruned.text
    *parents, last = field.split(".")
    found = pruned.json()
    for parent in parents:
        found = found[parent]
    assert last not in found


def test_kubernetes_own_types_pass_as_they_are(create):
    spec = {
        **ALIAS,
        "pod": {
            "affinity": {"futureAffinity": {"weight": 1}},
            "volumes": [{"name": "a", "futureVolume": {"b": 1}}],
        },
        "server": {
            "probes": {"liveness": {"futureField": 1}},
            "env": [{"name": "A", "valueFrom": {"future": {}}}],
        },
        "fetch": {"volume": {"emptyDir": {"futureField": 1}}},
    }
    answer = create(spec)
    assert answer.status_code == 201, answer.text
    stored = answer.json()["spec"]
    assert stored["pod"]["affinity"] == spec["pod"]["affinity"]
    assert stored["pod"]["volumes"] == spec["pod"]["volumes"]
    assert stored["server"]["probes"] == spec["server"]["probes"]
    assert stored["server"]["env"] == spec["server"]["env"]
    assert stored["fetch"] == spec["fetch"]


def test_the_defaults_of_the_design_appear_and_no_others(create):
    assert create(ALIAS).json()["spec"] == {
        **ALIAS,
        "registry": {"name": "default", "type": "MLflow"},
        "server": {"runtime": "MLflow", "port": 8080},
        "pod": {
            "terminationGracePeriodSeconds": 60,
            "automountServiceAccountToken": False,
        },
        "service": {"port": 80, "type": "ClusterIP"},
        "selfTest": {"mode": "Auto", "timeoutSeconds": 60, "path": "/invocations"},
        "rollout": {
            "maxSurge": 1,
            "maxUnavailable": 0,
            "schedulingSeconds": 1800,
            "fetchSeconds": 1800,
            "startupSeconds": 600,
            "strategy": "RollingUpdate",
            "watchSeconds": 600,
            "warmSeconds": 600,
            "warmReplicas": 1,
        },
        "gates": {
            "approval": {"mode": "Automatic", "at": "BeforeStart", "approved": ""},
            "integrity": {"digestTag": "sha256", "required": False},
            "inputExample": "Ignore",
            "requirements": "Ignore",
        },
        "revert": {
            "policy": "Automatic",
            "historyLimit": 10,
            "tagVersion": "Auto",
        },
        "suspend": False,
    }


def test_the_defaults_of_the_api_server_are_those_of_the_models(create):
    raw = create(ALIAS).json()
    bare = parse({"metadata": raw["metadata"] | {"namespace": "default"}, "spec": ALIAS})
    assert parse(raw).spec == bare.spec


@pytest.mark.parametrize("example", examples().values(), ids=examples().keys())
def test_an_example_is_accepted_as_it_stands(create, example):
    answer = create(example["spec"], name=example["metadata"]["name"])
    assert answer.status_code == 201, answer.text


def test_an_object_as_large_as_the_bounds_allow_stays_within_the_cost_of_the_rules(create):
    many = {f"example.com/{'k' * 200}-{number}": "v" * 60 for number in range(64)}
    spec = {
        "model": {"name": "ä" * 256, "alias": "x" * 255},
        "pod": {
            "annotations": many,
            "volumes": [{"name": f"{'v' * 1000}-{number}", "emptyDir": {}} for number in range(64)],
        },
        "server": {"imageFrom": {"tag": "image", "allowedPrefixes": [f"{'p' * 1000}{n}" for n in range(32)]}},
        "selfTest": {"path": "/" + "p" * 1023},
        "gates": {
            "approval": {"mode": "Manual", "at": "BeforeTraffic", "approved": f"v{'8' * 52}-5d9f8a2b1c"},
            "integrity": {"digestTag": "ä" * 250},
        },
        "rollout": {"strategy": "BlueGreen"},
    }
    answer = create(spec)
    assert answer.status_code == 201, answer.text


NAMES = (
    "churn",
    "a b",
    "ä",
    "a@b",
    "@",
    "@a",
    ".",
    ".a",
    "..",
    "..a",
    "...",
    " ",
    "\u3000",
    " a ",
    "a:b",
    "a\x7fb",
    "100%?#",
    "n" * 256,
    "n" * 257,
)
CHOICES = (
    *("@champion", "@чемпион", "@½", "@a.b", "@", "@latest", "@LATEST", "@v1", "@v1a", "@V"),
    *("/1", "/01", "/٣", "/1a", "/latest", "/Latest", "/latest2", "/none", "/STAGING", "/Other"),
    *("/", "", "/a@b", "/1/2", "@" + "a" * 255, "@" + "a" * 256),
)


def test_the_api_server_and_the_operator_agree_on_every_uri(create):
    uris = [*(f"models:/{name}{choice}" for name, choice in product(NAMES, CHOICES)), *MALFORMED_URIS]
    specs = [{"model": {"uri": uri}} for uri in uris]
    assert [s for s in specs if is_read(s) != (create(s).status_code == 201)] == []


def test_the_api_server_and_the_operator_agree_on_every_name(create):
    specs = [{"model": {"name": name, "alias": "a"}} for name in NAMES]
    assert [s for s in specs if is_read(s) != (create(s).status_code == 201)] == []


def test_the_api_server_and_the_operator_agree_on_every_choice(create):
    texts = [choice[1:] for choice in CHOICES] + ["@a", "a b", "a\n"]
    specs = [
        {"model": {"name": "churn", field: text}} for field in ("alias", "version", "stage") for text in texts
    ]
    assert [s for s in specs if is_read(s) != (create(s).status_code == 201)] == []


APPROVED = (
    *(
        "",
        "8",
        "0",
        "08",
        "-8",
        "+8",
        "8.0",
        "1e3",
        "٣",
        "½",
        "9999999999",
        "10000000000",
        "8\n",
        "\n8",
        "8 ",
    ),
    *("v8-5d9f8a2b1c", "v8-5d9f8a2b1", "v8-5d9f8a2b1c0", "v-5d9f8a2b1c", "V8-5d9f8a2b1c", "v8-5D9F8A2B1C"),
    *("v8-5d9f8a2b1c\n", "v٣-5d9f8a2b1c", "v8", "8|9", "v" + "8" * 52 + "-5d9f8a2b1c", "ä" * 65),
    *(8, 0, -8, 10**10, 10**10 - 1, True, False, 8.5, [], {}),
)
TAG_KEYS = (
    *(
        "sha256",
        "",
        " ",
        "a b",
        "a/b",
        "ä",
        "ä" * 250,
        "ä" * 251,
        "a\n",
        "\n",
        "a\x00b",
        "\x1f",
        "\x7f",
        "\x80",
    ),
    *("\x9f", "\xa0", "\u200b", "\u2028", 256, True, []),
)


def test_the_api_server_and_the_operator_agree_on_what_can_be_approved(create):
    specs = [{**ALIAS, "gates": {"approval": {"mode": "Manual", "approved": text}}} for text in APPROVED]
    assert [s for s in specs if is_read(s) != (create(s).status_code == 201)] == []


def test_the_api_server_and_the_operator_agree_on_every_key_of_the_digest(create):
    specs = [{**ALIAS, "gates": {"integrity": {"digestTag": key}}} for key in TAG_KEYS]
    assert [s for s in specs if is_read(s) != (create(s).status_code == 201)] == []


def test_the_api_server_and_the_operator_agree_on_where_an_approval_may_stand(create):
    choices = product(
        ("Automatic", "Manual", None),
        ("BeforeStart", "BeforeTraffic", None),
        ("RollingUpdate", "BlueGreen", None),
    )
    specs = [
        {
            **ALIAS,
            "gates": {"approval": {k: v for k, v in (("mode", mode), ("at", at)) if v}},
            "rollout": {"strategy": strategy} if strategy else {},
        }
        for mode, at, strategy in choices
    ]
    assert [s for s in specs if is_read(s) != (create(s).status_code == 201)] == []
    assert sum(is_read(s) for s in specs) == len(specs) - 2
