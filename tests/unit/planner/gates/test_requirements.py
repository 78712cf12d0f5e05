"""Whether an image has what a model needs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.domain.registry import ImageContents, ModelDescription
from model_operator.planner.gates.requirements import find_unjudged, unmet

IMAGE = ImageContents("3.11.7", {"scikit-learn": "1.7.1", "torch": "2.3.0+cpu", "mlflow": "3.17.2"})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        pytest.param("scikit-learn==1.7.1", "", id="the same version"),
        pytest.param("Scikit_Learn>=1.5,<2", "", id="a range, and a name written in another way"),
        pytest.param("scikit-learn", "", id="any version"),
        pytest.param(
            "scikit-learn==1.5.0", "needs scikit-learn==1.5.0, the image has 1.7.1", id="another version"
        ),
        pytest.param("xgboost==2.0", "needs xgboost==2.0, which the image lacks", id="not installed"),
        pytest.param("torch==2.3.0", "", id="how it was built does not matter"),
        pytest.param("torch==2.3.0+cpu", "", id="it was built as asked for"),
        pytest.param("torch<=2.3.0", "", id="how it was built does not make it newer"),
        pytest.param("mlflow[extras]==3.17.2", "", id="extras"),
        pytest.param("mlflow==3.4.1", "", id="MLflow of another minor version"),
        pytest.param("mlflow<4,>=3.1", "", id="a range of MLflow"),
        pytest.param("mlflow>=3.18", "needs mlflow>=3.18, the image has 3.17.2", id="a range of newer ones"),
        pytest.param(
            "mlflow==2.22.5", "needs mlflow==2.22.5, the image has 3.17.2", id="MLflow of another major"
        ),
        pytest.param('pywin32>=300; sys_platform == "win32"', "", id="for another system"),
        pytest.param('tomli; python_version < "3.11"', "", id="for another Python"),
        pytest.param(
            'tomli; python_version >= "3.11"', "needs tomli, which the image lacks", id="for this Python"
        ),
        pytest.param("-r other.txt", "", id="an option"),
        pytest.param("torch @ https://example.com/torch.whl", "", id="an address of a package that is there"),
        pytest.param(
            "thing @ https://example.com/thing.whl",
            "needs thing, which the image lacks",
            id="an address of a package that is not there",
        ),
        pytest.param(
            "code/churn_features-0.3-py3-none-any.whl",
            "needs churn-features==0.3, which the image lacks",
            id="a wheel within the model",
        ),
        pytest.param(
            "https://example.com/scikit_learn-1.5.0-py3-none-any.whl#sha256=0",
            "needs scikit-learn==1.5.0, the image has 1.7.1",
            id="an address of a wheel",
        ),
        pytest.param("./scikit-learn-1.7.1.tar.gz", "", id="a source archive"),
        pytest.param(
            "git+https://example.com/churn.git@v1#egg=churn-features&subdirectory=a",
            "needs churn-features, which the image lacks",
            id="a repository that names its package",
        ),
        pytest.param("git+https://example.com/churn.git", "", id="a repository without a name"),
        pytest.param("!!!", "", id="nonsense"),
    ],
)
def test_a_requirement(line: str, complaint: str) -> None:
    assert list(unmet(ModelDescription(requirements=(line,)), IMAGE)) == ([complaint] if complaint else [])


def test_a_constraint_bounds_a_package_that_is_required_and_requires_none() -> None:
    constraints = ("scikit-learn==1.5.0", "torch<2", "xgboost==2")
    model = ModelDescription(requirements=("scikit-learn", "mlflow"), constraints=constraints)
    assert list(unmet(model, IMAGE)) == ["is constrained to scikit-learn==1.5.0, the image has 1.7.1"]


def test_lines_without_a_package_are_named() -> None:
    model = ModelDescription(requirements=("torch", "-r other.txt", "git+https://example.com/churn.git"))
    assert list(find_unjudged(model)) == ["-r other.txt", "git+https://example.com/churn.git"]


@pytest.mark.parametrize(
    ("needed", "complaint"),
    [
        pytest.param("3.11.9", "", id="another patch"),
        pytest.param("3.12.1", "was made with Python 3.12, the image has 3.11", id="another minor version"),
        pytest.param("", "", id="the model does not say"),
        pytest.param("python", "", id="nonsense"),
    ],
)
def test_the_python_version(needed: str, complaint: str) -> None:
    assert list(unmet(ModelDescription(python_version=needed), IMAGE)) == ([complaint] if complaint else [])


def test_of_an_unknown_image_nothing_is_asked() -> None:
    assert unmet(ModelDescription(python_version="2.7", requirements=("xgboost",)), ImageContents()) == ()


@given(st.lists(st.text(max_size=60), max_size=5), st.text(max_size=20))
def test_no_line_raises(lines: list[str], version: str) -> None:
    image = ImageContents(version, {"a": version})
    assert unmet(ModelDescription(python_version=version, requirements=(*lines, "a>=1")), image) is not None
