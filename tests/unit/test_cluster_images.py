"""An image made by hand is a well-formed archive."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from tests.cluster.images import write_static_image


def read_member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_an_image_holds_the_program_and_names_it_as_entry_point(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_bytes(b"\x7fELF...")
    archive = write_static_image(tmp_path / "image.tar", "example.io/hello:1", program)
    with tarfile.open(archive) as tar:
        read = {name: read_member(tar, name) for name in tar.getnames()}
    (manifest,) = json.loads(read["manifest.json"])
    assert manifest["RepoTags"] == ["example.io/hello:1"]
    config = json.loads(read[manifest["Config"]])
    assert config["config"]["Entrypoint"] == ["/hello"]
    (layer,) = manifest["Layers"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(read[layer]).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(read[layer])) as tar:
        assert tar.getmember("hello").mode == 0o755
        assert read_member(tar, "hello") == program.read_bytes()


def test_the_same_program_makes_the_same_image(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_bytes(b"\x7fELF...")
    first = write_static_image(tmp_path / "1.tar", "example.io/hello:1", program).read_bytes()
    assert write_static_image(tmp_path / "2.tar", "example.io/hello:1", program).read_bytes() == first
