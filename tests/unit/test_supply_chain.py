"""What the answers of pip-audit mean: an answer that says nothing is never taken for a good one."""

from __future__ import annotations

from typing import Any

import pytest
from hack.supply_chain import audit

VULNERABLE = [{"id": "PYSEC-1", "fix_versions": ["3.0"], "aliases": []}]
ASKED_BESIDE = {"name": audit.KNOWN_NAME, "version": audit.KNOWN_VERSION, "vulns": VULNERABLE}


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        pytest.param(
            [{"name": "kopf", "version": "1.45", "vulns": []}, ASKED_BESIDE],
            0,
            "1 dependencies, no known vulnerability",
            id="nothing is known",
        ),
        pytest.param(
            [{"name": "kopf", "version": "1.45", "vulns": VULNERABLE}, ASKED_BESIDE],
            audit.FOUND,
            "kopf 1.45: PYSEC-1, fixed by 3.0",
            id="something is known",
        ),
        pytest.param(
            [{"name": "kopf", "skip_reason": "not found"}, ASKED_BESIDE],
            audit.NOT_CHECKED,
            "NOT CHECKED for known vulnerabilities: pip-audit could not look up kopf",
            id="one was passed over",
        ),
        pytest.param(
            [{"name": "kopf", "version": "1.45", "vulns": []}, {**ASKED_BESIDE, "vulns": []}],
            audit.NOT_CHECKED,
            "NOT CHECKED for known vulnerabilities: pip-audit missed the known vulnerability of jinja2",
            id="the advisories are missing",
        ),
        pytest.param([], audit.NOT_CHECKED, "NOT CHECKED", id="an empty answer"),
    ],
)
def test_an_answer_of_pip_audit_is(
    dependencies: list[dict[str, Any]], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.verdict(dependencies) == code
    output = capsys.readouterr()
    assert said in output.out + output.err
