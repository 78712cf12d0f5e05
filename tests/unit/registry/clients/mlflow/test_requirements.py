"""Requirement files, read as pip reads them."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_operator.registry.clients.mlflow.requirements import (
    MAX_REQUIREMENTS,
    Include,
    RequirementFile,
    parse_requirements,
)

HASH = "--hash=sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            "mlflow==3.17.2\n# why\n\npandas  # a comment\n", ("mlflow==3.17.2", "pandas"), id="comments"
        ),
        pytest.param(f"scikit-learn==1.2.0 {HASH} {HASH}", ("scikit-learn==1.2.0",), id="hashes on one line"),
        pytest.param(
            f"scikit-learn==1.2.0 \\\n    {HASH} \\\n    {HASH}\nnumpy",
            ("scikit-learn==1.2.0", "numpy"),
            id="hashes on lines of their own",
        ),
        pytest.param(f"a==1 {' '.join([HASH] * 200)}", ("a==1",), id="more hashes than fit a line"),
        pytest.param("a==1 --config-settings x=y", ("a==1",), id="an option of the build"),
        pytest.param(
            'a==1 ; python_version >= "3.8" --hash=sha256:0',
            ('a==1 ; python_version >= "3.8"',),
            id="a marker before an option",
        ),
        pytest.param(
            "--index-url https://pypi.example.com/simple\n--pre\na", ("a",), id="options of the installer"
        ),
        pytest.param(
            "-e ./churn\n--editable=git+https://host/r#egg=b",
            ("./churn", "git+https://host/r#egg=b"),
            id="editable",
        ),
        pytest.param("a==\\\n1.0", ("a==1.0",), id="a line that goes on"),
        pytest.param("a \\\n# not part of it\nb", ("a", "b"), id="a comment ends a line that goes on"),
        pytest.param("a\\", ("a",), id="a backslash at the end of the file"),
        pytest.param(
            "git+https://host/r#egg=b", ("git+https://host/r#egg=b",), id="a hash sign within an address"
        ),
        pytest.param("a\r\nb\rc", ("a", "b", "c"), id="line ends of other systems"),
        pytest.param("", (), id="an empty file"),
        pytest.param("-r 'unclosed", (), id="an unclosed quote"),
    ],
)
def test_a_file_has_these_requirements(content: str, expected: tuple[str, ...]) -> None:
    assert parse_requirements(content.encode()).requirements == expected


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(codecs.BOM_UTF8 + b"a==1", id="UTF-8 with a mark"),
        pytest.param(codecs.BOM_UTF16_LE + "a==1".encode("utf-16-le"), id="UTF-16"),
        pytest.param(b"# -*- coding: latin-1 -*-\na==1  # f\xfcr", id="a declared encoding"),
        pytest.param(b"# -*- coding: no-such -*-\na==1", id="a declared encoding that does not exist"),
        pytest.param(b"a==1  # \xff", id="no encoding at all"),
    ],
)
def test_the_encoding_is_found(content: bytes) -> None:
    assert parse_requirements(content).requirements == ("a==1",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("-r other.txt", Include("-r", "parts/other.txt", "-r other.txt"), id="short"),
        pytest.param("-rother.txt", Include("-r", "parts/other.txt", "-rother.txt"), id="without a blank"),
        pytest.param(
            "--requirement=other.txt", Include("-r", "parts/other.txt", "--requirement=other.txt"), id="long"
        ),
        pytest.param(
            "-c 'my constraints.txt'",
            Include("-c", "parts/my constraints.txt", "-c 'my constraints.txt'"),
            id="quoted",
        ),
        pytest.param(
            "-c ../up.txt", Include("-c", "up.txt", "-c ../up.txt"), id="beside the directory of the file"
        ),
        pytest.param("-c ../../out.txt", Include("-c", "", "-c ../../out.txt"), id="out of the model"),
        pytest.param("-r /etc/passwd", Include("-r", "", "-r /etc/passwd"), id="from the root"),
        pytest.param("-r https://host/r.txt", Include("-r", "", "-r https://host/r.txt"), id="an address"),
        pytest.param("-r", Include("-r", "", "-r"), id="nothing"),
    ],
)
def test_a_file_names_another_one(line: str, expected: Include) -> None:
    assert parse_requirements(line.encode(), "parts/requirements.txt").includes == (expected,)


def test_no_more_is_read_than_allowed() -> None:
    content = "".join(f"package{n}\n" for n in range(MAX_REQUIREMENTS + 5))
    assert len(parse_requirements(content.encode()).requirements) == MAX_REQUIREMENTS


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(content: bytes) -> None:
    assert isinstance(parse_requirements(content), RequirementFile)
