"""Builds the images with a Docker engine where one answers, else with buildah on a base of our own.

An archive is named by a hash of everything that it is made of, and is not made again. All state is under the
cache directory: the engine's own images, where there is one, are the only thing outside of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.locks import locked
from tests.images.engine import BuildOrder, Engine, chosen_engine
from tests.mlflow_env import cache_root

ROOT = Path(__file__).parent.parent.parent
# an archive of the serving image takes most of a gigabyte
KEPT_ARCHIVES = 4


@dataclass(frozen=True)
class Image:
    """An image of this repository: its key, the name that pods use, and the paths that it is made from."""

    key: str
    name: str
    inputs: tuple[str, ...]

    @property
    def dockerfile(self) -> str:
        return f"images/{self.key}/Dockerfile"

    def files(self) -> Iterator[Path]:
        """Every file that the image is made from, in a fixed order."""
        for name in (self.dockerfile, *self.inputs):
            path = ROOT / name
            found = sorted(path.rglob("*")) if path.is_dir() else [path]
            yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)

    def digest(self, engine: Engine) -> str:
        """A short hash of the image's inputs and of the base that it stands on."""
        digest = hashlib.sha256(engine.base_identity.encode())
        for file in self.files():
            digest.update(f"\0{file.relative_to(ROOT)}\0".encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


IMAGES = (
    Image("server", "model-operator.io/server:dev", ("requirements/mlflow.txt",)),
    Image(
        "operator",
        "model-operator.io/operator:dev",
        (
            "requirements/operator.txt",
            "requirements/dev.txt",
            "pyproject.toml",
            "README.md",
            "LICENSE",
            "operator",
        ),
    ),
)


def build(only: Sequence[str] = ()) -> dict[str, Path]:
    """The archives of the images (all, or those with the keys ``only``), by image name; made if absent.

    Archives are in the format of ``docker save``, which containerd, kind and docker load. Prints each step and
    its seconds. Raises RuntimeError with the engine's last words.
    """
    directory = cache_root() / "images"
    with locked(directory / ".lock", "images: another build is under way, waiting for it ..."):
        for left_over in (*directory.glob("context-*"), *directory.glob("*.partial")):
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
        engine = chosen_engine()
        try:
            return {
                image.name: _archive(image, engine, directory)
                for image in IMAGES
                if not only or image.key in only
            }
        finally:
            engine.close()


def _archive(image: Image, engine: Engine, directory: Path) -> Path:
    archive = directory / f"{image.key}-{image.digest(engine)}.tar"
    if archive.exists():
        # only the time of its last use: whoever has loaded the archive knows it by its time of change
        os.utime(archive, ns=(time.time_ns(), archive.stat().st_mtime_ns))
        print(f"image {image.name}: unchanged", flush=True)
        return archive
    with tempfile.TemporaryDirectory(prefix="context-", dir=directory) as context:
        for file in image.files():
            target = Path(context) / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        started = time.monotonic()
        print(f"image {image.name}: building with {engine.title} (minutes the first time)", flush=True)
        order = BuildOrder(image.name, Path(context), image.dockerfile)
        engine.build(order)
        built = time.monotonic()
        partial = archive.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        engine.save(image.name, partial)
        partial.rename(archive)
    print(
        f"image {image.name}: built in {built - started:.0f} s, saved in {time.monotonic() - built:.0f} s,"
        f" {archive.stat().st_size / 1e6:.0f} MB",
        flush=True,
    )
    _forget_old(image, directory)
    return archive


def _forget_old(image: Image, directory: Path) -> None:
    archives = sorted(directory.glob(f"{image.key}-*.tar"), key=lambda path: path.stat().st_atime)
    for old in archives[:-KEPT_ARCHIVES]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
