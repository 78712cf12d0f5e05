"""pod/serve_image.py: whose fault it is when a model fails in an image with other versions; real servers."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.contract.container import run_with_mlflow, running, until
from tests.contract.old_models import IMPUTER, TREE, save_old
from tests.contract.test_serve import environment
from tests.mlflow_env import OLDEST, REQUIREMENTS

OTHER_PYTHON = "3.10.13"
THIS_PYTHON = platform.python_version()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of save_models.py as MLflow 3 saves them."""
    directory = tmp_path_factory.mktemp("models")
    run_with_mlflow("save_models.py", str(directory))
    return directory


def remake(model: Path, to: Path, python: str = "", requirements: str = "") -> Path:
    """A copy of the model that was made with that Python and those libraries, as far as its files say."""
    shutil.copytree(model, to)
    document = yaml.safe_load((to / "MLmodel").read_text())
    if python:
        document["flavors"]["python_function"]["python_version"] = python
    (to / "MLmodel").write_text(yaml.safe_dump(document))
    (to / "requirements.txt").write_text(requirements)
    return to


@pytest.mark.parametrize(
    ("name", "python", "requirements", "ending", "says"),
    [
        pytest.param(
            "python-3.10",
            OTHER_PYTHON,
            "",
            (56, "ImageMismatch"),
            ("code() ", f"Python {OTHER_PYTHON} (the image has {THIS_PYTHON})", "spec.server.image"),
            id="a cloudpickle of another Python",
        ),
        pytest.param(
            "python-3.10", "", "", (50, "LoadFailed"), ("code() ",), id="without a difference on record"
        ),
        pytest.param(
            "load-former-name",
            "",
            "numpy==1.19.5\n",
            (56, "ImageMismatch"),
            ("has no attribute 'float'", "numpy 1.19.5 (the image has "),
            id="a name that a library had",
        ),
        pytest.param(
            "load-former-name", "", "scipy==1.5\n", (50, "LoadFailed"), (), id="while another library differs"
        ),
        pytest.param(
            "load-former-standard",
            OTHER_PYTHON,
            "",
            (56, "ImageMismatch"),
            ("'collections' has no attribute 'Mapping'", f"Python {OTHER_PYTHON} (the image has"),
            id="a name that Python had",
        ),
        pytest.param(
            "load-own-standard",
            OTHER_PYTHON,
            "",
            (50, "LoadFailed"),
            ("weights",),
            id="a name of the model's own in an object of Python's",
        ),
        pytest.param(
            "load-raises",
            OTHER_PYTHON,
            "numpy>=3 ; python_version > '3'\n",
            (50, "LoadFailed"),
            (
                "the weights are corrupt. Nothing points to the image, but",
                f"Python {OTHER_PYTHON}",
                "numpy >=3",
            ),
            id="an error of the model's own while versions differ",
        ),
        pytest.param(
            "load-own-name",
            OTHER_PYTHON,
            "",
            (50, "LoadFailed"),
            ("weights",),
            id="a name of the model's own",
        ),
        pytest.param(
            "load-library",
            OTHER_PYTHON,
            "",
            (51, "RequirementMissing"),
            ("lacks the shared library libboosted_trees_of_tomorrow.so.1", "spec.server.image"),
            id="a shared library",
        ),
        pytest.param(
            "load-own-library",
            "",
            "",
            (50, "LoadFailed"),
            ("libtrees.so",),
            id="a shared library of the model's own",
        ),
        pytest.param(
            "load-program",
            "",
            "",
            (51, "RequirementMissing"),
            ("lacks the program 'java-of-tomorrow'",),
            id="a program",
        ),
        pytest.param(
            "load-imports",
            "",
            "boosted-trees-of-tomorrow==1.2 --hash=sha256:00\n",
            (51, "RequirementMissing"),
            ("'boosted_trees_of_tomorrow' (its requirements: boosted-trees-of-tomorrow 1.2)",),
            id="a library of its requirements",
        ),
        pytest.param(
            "predict-imports",
            "",
            "",
            (51, "RequirementMissing"),
            ("'boosted_trees_of_tomorrow'", "spec.server.image", "log the model with code_paths"),
            id="a library for its predictions",
        ),
        pytest.param(
            "predict-raises",
            OTHER_PYTHON,
            "",
            (52, "SelfTestFailed"),
            ("no column named colour",),
            id="a prediction that fails while versions differ",
        ),
    ],
)
def test_an_error_is_the_images_only_where_a_difference_explains_it(
    models: Path,
    tmp_path: Path,
    name: str,
    python: str,
    requirements: str,
    ending: tuple[int, str],
    says: tuple[str, ...],
) -> None:
    model = remake(models / name, tmp_path / "model", python, requirements)
    with running("serve.py", tmp_path / "pod", environment(model), forked=True) as server:
        code = server.ended()
    words = server.last_words
    assert (code, words["reason"]) == ending, server.log
    for part in says:
        assert part in words["message"]


@pytest.mark.parametrize(
    ("pickled", "sklearn", "mlflow", "says"),
    [
        pytest.param(TREE, "1.2.2", "1.30.1", ("can't be loaded", "incompatible dtype"), id="while it loads"),
        pytest.param(IMPUTER, "1.3.2", "2.9.2", ("can't be used", "_fill_dtype"), id="while it predicts"),
    ],
)
def test_a_pickle_of_an_older_scikit_learn_is_not_the_models_fault(
    tmp_path: Path, pickled: str, sklearn: str, mlflow: str, says: tuple[str, ...]
) -> None:
    model = save_old(tmp_path / "model", pickled, sklearn, mlflow)
    with running("serve.py", tmp_path / "pod", environment(model), forked=True) as server:
        assert server.ended() == 56, server.log
    for part in (*says, f"It was made with scikit-learn {sklearn} (the image has 1."):
        assert part in server.last_words["message"]
    assert server.last_words["message"].endswith(
        "set spec.server.image to an image with the model's versions"
    )


def test_a_model_of_a_later_mlflow_is_not_the_models_fault(models: Path, tmp_path: Path) -> None:
    with running("serve.py", tmp_path, environment(models / "skops"), OLDEST) as server:
        assert server.ended() == 56, server.log
    message = server.last_words["message"]
    assert "Unrecognized serialization format: skops" in message
    assert re.search(r"It was made with mlflow 3\.[\d.]+ \(the image has 2\.22\.[\d.]+\)", message)


def test_a_broken_file_is_the_models_fault_in_any_image(models: Path, tmp_path: Path) -> None:
    model = remake(models / "iris", tmp_path / "model", OTHER_PYTHON, "scikit-learn==0.24.2\n")
    (pickled,) = model.glob("model.*")
    pickled.write_bytes(pickled.read_bytes()[:200])
    with running("serve.py", tmp_path / "pod", environment(model), forked=True) as server:
        assert server.ended() == 50, server.log
    assert "scikit-learn 0.24.2" in server.last_words["message"]


def test_a_crash_of_the_interpreter_leaves_the_versions_that_differ(models: Path, tmp_path: Path) -> None:
    model = remake(models / "load-crash", tmp_path / "model", OTHER_PYTHON)
    with running("serve.py", tmp_path / "pod", environment(model), REQUIREMENTS) as server:
        assert server.ended() == 139
    assert server.last_words["reason"] == "ImageMismatch"
    assert (
        f"ended while it loaded or tested the model, which was made with Python {OTHER_PYTHON}"
        in (server.last_words["message"])
    )


def test_a_model_that_works_with_other_versions_serves_and_leaves_no_message(
    models: Path, tmp_path: Path
) -> None:
    model = remake(models / "no-example", tmp_path / "model", OTHER_PYTHON, "pandas==0.25.3\n")
    with running("serve.py", tmp_path / "pod", environment(model), forked=True) as server:
        until(server.listens)
        assert (tmp_path / "pod" / "termination-log").read_text() == ""
