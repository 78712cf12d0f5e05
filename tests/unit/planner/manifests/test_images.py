"""Which image the pods run: the spec's, one that a tag of the version names, or the default."""

import pytest

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.world import Defaults
from model_operator.planner.manifests import ImageProblem, resolve_images
from model_operator.planner.manifests.images import is_allowed

DEFAULTS = Defaults(server_image="operator.example.com/server:1", fetch_image="", scripts={})


def spec(**parts: object) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": {"name": "churn", "alias": "champion"}, **parts})


def from_tag(*prefixes: str) -> ModelDeploymentSpec:
    return spec(server={"imageFrom": {"tag": "serving_image", "allowedPrefixes": list(prefixes)}})


def problem(given: ModelDeploymentSpec, tags: dict[str, str], defaults: Defaults = DEFAULTS) -> ImageProblem:
    answer = resolve_images(given, defaults, tags)
    assert isinstance(answer, ImageProblem)
    return answer


def test_without_a_wish_both_containers_run_the_default() -> None:
    assert resolve_images(spec(), DEFAULTS, {}) == {
        "server": "operator.example.com/server:1",
        "fetch": "operator.example.com/server:1",
    }


def test_a_default_for_fetching_is_used_for_fetching_only() -> None:
    defaults = Defaults("a/server:1", "a/fetch:1", {})
    assert resolve_images(spec(), defaults, {}) == {"server": "a/server:1", "fetch": "a/fetch:1"}


def test_images_of_the_spec_win() -> None:
    given = spec(server={"image": "mine/server@sha256:" + "a" * 64}, fetch={"image": "mine/fetch"})
    assert resolve_images(given, DEFAULTS, {}) == {
        "server": "mine/server@sha256:" + "a" * 64,
        "fetch": "mine/fetch",
    }


def test_the_versions_tag_names_the_image() -> None:
    images = resolve_images(
        from_tag("registry.example.com/team/"),
        DEFAULTS,
        {"serving_image": " registry.example.com/team/x:3\n"},
    )
    assert images == {"server": "registry.example.com/team/x:3", "fetch": "operator.example.com/server:1"}


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({}, id="no tags at all"),
        pytest.param({"serving_image": ""}, id="an empty tag"),
        pytest.param({"serving_image": "  "}, id="a blank tag"),
        pytest.param({"other": "a/b"}, id="another tag"),
    ],
)
def test_a_missing_tag_is_named_with_the_remedy(tags: dict[str, str]) -> None:
    found = problem(from_tag("registry.example.com/"), tags)
    assert found.reason == "ImageTagMissing"
    assert "'serving_image'" in found.message
    assert "spec.server.image" in found.message


@pytest.mark.parametrize(
    ("image", "prefix"),
    [
        pytest.param("reg.example.com/team/x:1", "reg.example.com/team/", id="the prefix ends with a slash"),
        pytest.param("reg.example.com/team/x:1", "reg.example.com/team", id="a slash follows the prefix"),
        pytest.param("reg.example.com/x:1", "reg.example.com", id="the prefix is a host"),
        pytest.param("reg.example.com:5000/x", "reg.example.com:5000", id="the prefix is a host and a port"),
        pytest.param("reg.example.com/x:1", "reg.example.com/x", id="a tag follows the prefix"),
        pytest.param("reg.example.com/x:1", "reg.example.com/x:", id="the prefix ends before a tag"),
        pytest.param("reg.example.com/x@sha256:" + "0" * 64, "reg.example.com/x", id="a digest follows"),
        pytest.param("reg.example.com/x:1", "reg.example.com/x:1", id="the prefix is the image"),
    ],
)
def test_an_image_under_an_allowed_prefix_may_run(image: str, prefix: str) -> None:
    assert is_allowed(image, ["other.example.com/", prefix])


@pytest.mark.parametrize(
    ("image", "prefix"),
    [
        pytest.param("reg.example.com.evil.org/x:1", "reg.example.com", id="a longer host"),
        pytest.param("reg.example.com:5000/x:1", "reg.example.com", id="another port"),
        pytest.param("reg.example.com:5000/x:1", "reg.example.com:", id="another port after a colon"),
        pytest.param("reg.example.com:50001/x:1", "reg.example.com:5000", id="a longer port"),
        pytest.param("reg.example.com@evil.org/x:1", "reg.example.com", id="a host that looks like a user"),
        pytest.param("reg.example.com/team-b/x:1", "reg.example.com/team", id="a longer project"),
        pytest.param("reg.example.com/x:10", "reg.example.com/x:1", id="a longer tag"),
        pytest.param("evil.org/reg.example.com/x", "reg.example.com/", id="the prefix in the middle"),
        pytest.param("REG.example.com/x", "reg.example.com/", id="other letters"),
        pytest.param("anything/x", "", id="an empty prefix"),
    ],
)
def test_an_image_that_only_looks_like_an_allowed_one_may_not_run(image: str, prefix: str) -> None:
    assert not is_allowed(image, [prefix])


def test_an_image_outside_the_prefixes_is_refused_by_name() -> None:
    found = problem(from_tag("registry.example.com/"), {"serving_image": "docker.io/evil/miner:1"})
    assert found.reason == "ImageNotAllowed"
    assert "'docker.io/evil/miner:1'" in found.message
    assert "allowedPrefixes" in found.message


@pytest.mark.parametrize(
    "image",
    [
        pytest.param("registry.example.com/a b", id="a space"),
        pytest.param("registry.example.com/x:1\nevil", id="a line break"),
        pytest.param("registry.example.com/../x", id="a way up"),
        pytest.param("registry.example.com//x", id="an empty part"),
        pytest.param("registry.example.com/", id="no name"),
        pytest.param("registry.example.com/X:1", id="capitals"),
        pytest.param("registry.example.com/x:", id="an empty tag"),
        pytest.param("registry.example.com/x:" + "t" * 129, id="a tag that is too long"),
        pytest.param("registry.example.com/x@sha256:12", id="a short digest"),
        pytest.param("https://registry.example.com/x", id="a URL"),
        pytest.param("registry.example.com/x:\u0661", id="a digit of another script"),
        pytest.param("registry.example.com/" + "a/" * 300 + "x", id="far too long"),
        pytest.param("registry.example.com/" + "a-" * 200 + "!", id="made to cost time"),
    ],
)
def test_a_tag_that_is_no_image_reference_is_refused_and_quoted_in_short(image: str) -> None:
    found = problem(from_tag("registry.example.com/"), {"serving_image": image})
    assert found.reason == "ImageMalformed"
    assert "'serving_image'" in found.message
    assert "\n" not in found.message
    assert len(found.message) < 300


@pytest.mark.parametrize(
    ("given", "defaults", "named"),
    [
        pytest.param(spec(server={"image": "a b"}), DEFAULTS, "spec.server.image", id="the spec's server"),
        pytest.param(spec(fetch={"image": "a b"}), DEFAULTS, "spec.fetch.image", id="the spec's fetch"),
        pytest.param(spec(), Defaults("", "", {}), "images.server", id="the configured server"),
        pytest.param(spec(), Defaults("a", "a b", {}), "images.fetch", id="the configured fetch"),
    ],
)
def test_a_malformed_image_is_blamed_on_the_field_it_stands_in(
    given: ModelDeploymentSpec, defaults: Defaults, named: str
) -> None:
    found = problem(given, {}, defaults)
    assert found.reason == "ImageMalformed"
    assert found.message.startswith(named)
