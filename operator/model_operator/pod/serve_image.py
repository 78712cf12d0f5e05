"""Decides whether a model fails because the image has other versions than it was made with. A part of serve.py.

The image is the cause only with two pieces of evidence: a version differs, and the error names that library or comes
from its code.
"""

from __future__ import annotations

import os
import pickle
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_operator.pod.serve_failure import DefiniteError, describe
else:
    from serve_failure import DefiniteError, describe

PYTHON = "Python"
MOST_OF_AN_ERROR = 300
REMEDY = "set spec.server.image to an image with the model's versions"
# keys of a flavor in MLmodel whose names are not those of their distributions
FLAVOR_VERSIONS = {"sklearn": "scikit-learn", "xgb": "xgboost", "lgb": "lightgbm", "pytorch": "torch"}
MODULES = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python", "yaml": "pyyaml"}
# these unpickle, and an error in their code is often one of the pickled library
LOADERS = ("mlflow", "cloudpickle", "joblib", "skops", "pickle")
UNPICKLING_ERRORS = (TypeError, ValueError, AttributeError, KeyError, IndexError, SystemError)
# errors of a broken file, with any version
BROKEN_FILE = re.compile(
    r"invalid load key|truncated|Ran out of input|pickle exhausted|could not find MARK|does not have the .* flavor"
)
OTHER_PYTHON = re.compile(
    r"\bcode\(\) (?:argument|takes)|code: expected|code expected|unsupported pickle protocol|bad marshal data"
    r"|unknown opcode|bad magic number|_make_skel_func|_fill_function|an integer is required \(got type bytes\)"
)
LIBRARY = re.compile(
    r"(?P<missing>[^\s'\":]+): cannot open shared object file"
    r"|(?P<system>[^\s'\":]+): version [`'](?P<version>\w+)' not found"
    r"|(?P<symbol>[^\s'\":]+): undefined symbol"
    r"|(?P<machine>[^\s'\":]+): (?:wrong ELF class|invalid ELF header)"
)
# part of a driver: the node's device plugin mounts it into pods that request the device
DRIVER = re.compile(r"^lib(cuda|nvidia|nvcuvid)\b")
NAMED_MODULE = re.compile(
    r"No module named '([\w.]+)'|<module '([\w.]+)'|module '([\w.]+)' has no attribute"
    r"|cannot import name .* from '([\w.]+)'"
)
# with those of the other releases that are still in use
STANDARD = set(getattr(sys, "stdlib_module_names", ("builtins", "collections", "inspect", "types"))) | {
    *(
        "asynchat",
        "asyncore",
        "audioop",
        "cgi",
        "crypt",
        "distutils",
        "imp",
        "imghdr",
        "pipes",
        "smtpd",
        "telnetlib",
    ),
    *("tomllib", "zoneinfo", "graphlib", "annotationlib"),
}
# columns are attributes of a table, too, so only these names are known to be of an older pandas
FORMER_OF_TABLES = {"append", "iteritems", "ix", "lookup", "mad", "as_matrix", "get_value"}


@dataclass(frozen=True)
class Difference:
    """A version that the model was made with, and the version in the image (empty without one)."""

    name: str
    model: str
    image: str

    def __str__(self) -> str:
        return f"{self.name} {self.model} (the image has {self.image or 'none'})"


def find_differences(model_dir: Path) -> list[Difference]:
    """Returns the recorded versions that differ from the image's in a way that may matter.

    Another major or minor version may matter, and a version that the model's requirements exclude.
    """
    found: dict[str, Difference] = {}
    for name, version in _recorded_versions(model_dir):
        image = platform.python_version() if name == PYTHON else _installed(name)
        if not _matches(version, image):
            found.setdefault(_normalize(name), Difference(name, version, image))
    return list(found.values())


def blame_image(
    error: BaseException, model_dir: Path, loading: bool, self_test: str = ""
) -> DefiniteError | None:
    """Returns the failure to report if the image is clearly the cause, else None.

    ``loading`` is false for an error of a prediction, because a wrong input can be its cause.
    """
    causes = list(_causes(error))
    differences = find_differences(model_dir)
    doing = "loaded" if loading else "used"
    if lacking := _lacking_library(causes, model_dir):
        text = f"the model can't be {doing}: {lacking} ({_brief(causes[-1])})"
        return DefiniteError("RequirementMissing", text, self_test)
    if suspects := _suspects(causes, differences, loading):
        made = ", ".join(map(str, suspects[:5])) + (
            f" and {len(suspects) - 5} more" if len(suspects) > 5 else ""
        )
        return DefiniteError(
            "ImageMismatch",
            f"the model can't be {doing} in this image ({_brief(causes[-1])}). It was made with {made}: {REMEDY}",
            self_test,
        )
    missing = next((cause for cause in causes if isinstance(cause, ImportError)), None)
    if missing is None:
        return None
    module = f"the module {missing.name!r}" if missing.name else "a module"
    top = _normalize(_distribution((missing.name or "").split(".")[0]))
    wanted = next(
        (f" (its requirements: {d.name} {d.model})" for d in differences if _normalize(d.name) == top), ""
    )
    own = ". If it is a module of yours, log the model with code_paths"
    if wanted or _requires(model_dir, top) or "." in (missing.name or ".") or (missing.name in STANDARD):
        own = ""
    return DefiniteError(
        "RequirementMissing",
        f"the model needs {module}{wanted}, which the server's image does not have in the right version"
        f" ({_brief(missing)}): set spec.server.image to an image with the model's requirements{own}",
        self_test,
    )


def _brief(error: BaseException) -> str:
    """Returns the error, short enough to leave room for the remedy behind it."""
    text = describe(error)
    return text if len(text) <= MOST_OF_AN_ERROR else text[: MOST_OF_AN_ERROR - 3] + "..."


def list_differences(model_dir: Path) -> str:
    """Returns the versions that differ, as a part of a message. Empty if none does."""
    differences = find_differences(model_dir)
    return ", ".join(map(str, differences[:5])) + (" and more" if len(differences) > 5 else "")


def _requires(model_dir: Path, distribution: str) -> bool:
    try:
        lines = (model_dir / "requirements.txt").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    names = (re.match(r"\s*([A-Za-z0-9][\w.-]*)", line) for line in lines)
    return any(name and _normalize(name.group(1)) == distribution for name in names)


# ---- versions ----------------------------------------------------------------------------------------


def _recorded_versions(model_dir: Path) -> Iterator[tuple[str, str]]:
    """Yields names of distributions, or Python, with a version or a specifier such as >=2,<3."""
    mlmodel = _read_yaml(model_dir / "MLmodel")
    flavors = mlmodel.get("flavors")
    flavors = flavors if isinstance(flavors, Mapping) else {}
    function = flavors.get("python_function")
    python = function.get("python_version") if isinstance(function, Mapping) else None
    if python := python or _read_yaml(model_dir / "python_env.yaml").get("python"):
        yield PYTHON, str(python)
    if mlflow := mlmodel.get("mlflow_version"):
        yield "mlflow", str(mlflow)
    for flavor in flavors.values():
        for key, version in flavor.items() if isinstance(flavor, Mapping) else ():
            if key.endswith("_version") and key != "python_version" and isinstance(version, str):
                name = key[: -len("_version")]
                name = FLAVOR_VERSIONS.get(name, name.replace("_", "-"))
                # not every such key names a distribution, and the requirements list a missing one
                if _installed(name):
                    yield name, version
    try:
        lines = (model_dir / "requirements.txt").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        # without options, hashes, markers and comments
        found = re.match(
            r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([=!<>~][^;#\s]*(?:\s*,\s*[^;#\s]+)*)", line
        )
        if found:
            version = re.sub(r"^===?", "", found.group(2).replace(" ", ""))
            yield found.group(1), version


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]  # MLflow brings it
    except ImportError:
        return {}
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(path.read_bytes(), loader)  # noqa: S506 - a safe loader
    except (OSError, yaml.YAMLError, ValueError):
        return {}
    return document if isinstance(document, Mapping) else {}


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    names = ("mlflow", "mlflow-skinny") if _normalize(name) == "mlflow" else (name,)
    for each in names:
        try:
            return version(each)
        except PackageNotFoundError:
            pass
    return ""


def _matches(wanted: str, image: str) -> bool:
    """Whether the model can be expected to work with the image's version."""
    if not image:
        return False
    if re.match(r"[=!<>~]", wanted) or "," in wanted:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet  # MLflow brings it
        from packaging.version import InvalidVersion

        try:
            return SpecifierSet(wanted).contains(image.partition("+")[0], prereleases=True)
        except (InvalidSpecifier, InvalidVersion):
            return True
    first, second = _minor(wanted), _minor(image)
    return not first or not second or first == second[: len(first)]


def _minor(version: str) -> list[int]:
    found = re.match(r"v?(\d+)(?:\.(\d+))?", version)
    return [int(part) for part in found.groups() if part] if found else []


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(module: str) -> str:
    """Returns the distribution of a top-level module."""
    try:
        from importlib.metadata import packages_distributions  # from Python 3.10 on

        found = packages_distributions().get(module, ())
    except ImportError:
        found = ()
    # MLflow comes in three distributions
    return module if not found or module in found else MODULES.get(module, found[0])


# ---- evidence ----------------------------------------------------------------------------------------


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the exception and its causes."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen and len(seen) < 8:
        seen.append(cause)
        yield cause
        # an error that the model's own code handled is not the cause
        wrapped = type(cause).__module__.startswith("mlflow.") and not cause.__suppress_context__
        cause = cause.__cause__ or (cause.__context__ if wrapped else None)


def _suspects(causes: list[BaseException], differences: list[Difference], loading: bool) -> list[Difference]:
    """Returns the differences that explain the error."""
    if any(OTHER_PYTHON.search(str(cause)) for cause in causes):
        return [d for d in differences if d.name in (PYTHON, "cloudpickle")]
    named = {module for cause in causes for module in _named_modules(cause)}
    if named:
        wanted = {_normalize(_distribution(module)) for module in named}
        if named & STANDARD:
            return [d for d in differences if d.name == PYTHON]
        # a missing library is reported as such
        return [d for d in differences if _normalize(d.name) in wanted and d.image]
    if not loading:
        return []
    error = causes[-1]
    if BROKEN_FILE.search(str(error)) or isinstance(
        error, (OSError, MemoryError, EOFError, pickle.UnpicklingError)
    ):
        return []
    package = _raised_by(error.__traceback__)
    if type(error).__module__ == "mlflow.exceptions":
        # MLflow's own errors are about things that it knows, except if the model is from a later MLflow
        return [d for d in differences if d.name == "mlflow" and _minor(d.model) > _minor(d.image)]
    if package in LOADERS and isinstance(error, UNPICKLING_ERRORS):
        return [d for d in differences if d.image and (d.name == PYTHON or _is_loaded(d.name))]
    return [
        d
        for d in differences
        if d.image and package and _normalize(d.name) == _normalize(_distribution(package))
    ]


def _named_modules(cause: BaseException) -> Iterator[str]:
    """Yields the top-level modules in which the error misses a name."""
    for found in NAMED_MODULE.finditer(str(cause)):
        yield next(filter(None, found.groups())).split(".")[0]
    if isinstance(cause, AttributeError) and (missed := getattr(cause, "obj", None)) is not None:
        kind = missed if isinstance(missed, type) else type(missed)
        top = kind.__module__.split(".")[0]
        # an object of the standard library may have any attribute that the model's code sets
        if top not in STANDARD and (top != "pandas" or getattr(cause, "name", "") in FORMER_OF_TABLES):
            yield top


def _raised_by(traceback: TracebackType | None) -> str:
    """Returns the package that raised the error. Empty if the model's own code is in the traceback."""
    raised_by = ""
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        traceback = traceback.tb_next
        if name == "mlflow" or raised_by:
            origin = _origin(name)
            if origin == "model":
                return ""
            if origin == "library" or name in LOADERS:
                raised_by = name
    return raised_by


def _origin(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", "") or ""
    if "site-packages" in file or "dist-packages" in file:
        return "library"
    standard = not file or Path(file).is_relative_to(Path(os.__file__).parent)
    return "standard" if standard and module in sys.modules and module != "__main__" else "model"


def _is_loaded(distribution: str) -> bool:
    modules = {module for module in sys.modules if "." not in module}
    wanted = _normalize(distribution)
    return any(_normalize(module) == wanted or MODULES.get(module) == wanted for module in modules)


def _lacking_library(causes: list[BaseException], model_dir: Path) -> str:
    """Returns the missing library or program, with the remedy. Empty for any other error."""
    for cause in causes:
        if isinstance(cause, FileNotFoundError) and _is_program(cause):
            return (
                f"the server's image lacks the program {cause.filename!r}, which the model runs: set"
                " spec.server.image to an image that has it"
            )
        found = LIBRARY.search(str(cause))
        # a library among the model's own files is the model's
        if not found or str(model_dir) in found.group():
            continue
        if name := found["missing"]:
            if DRIVER.match(name):
                return (
                    f"the pod has no {name}, which is a part of the driver of a GPU: request one in"
                    " spec.server.resources"
                )
            return (
                f"the server's image lacks the shared library {name}, which the model needs: set spec.server.image to"
                " an image that has it"
            )
        return (
            f"the server's image has a shared library that does not match its other libraries ({found.group()}): set"
            " spec.server.image to an image in which they match"
        )
    return ""


def _is_program(error: FileNotFoundError) -> bool:
    """Whether the error is a failed start of a program without a path."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == "subprocess":
            return isinstance(error.filename, str) and "/" not in error.filename
        traceback = traceback.tb_next
    return False
