"""Versions that fall ill before or after they went live, in both strategies: how soon they are gone, at what cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.figures import Figures, first_ends, moment
from tests.e2e.stage import DIES, DIES_EVERY_MINUTE, ERRS, GOOD, HANGS, SELFTEST_FAILS, Stage
from tests.workbench import Load

pytestmark = pytest.mark.full
PATIENCE = 240
STRATEGIES = {"rolling": "RollingUpdate", "bluegreen": "BlueGreen"}


@dataclass(frozen=True)
class Illness:
    """How a version fails, and whether it does so only once it serves."""

    version: str
    reason: str
    serves_first: bool = False


ILLNESSES = {
    "dies": Illness(DIES, "CrashLoop"),
    "fails-its-self-test": Illness(SELFTEST_FAILS, "SelfTestFailed"),
    "errs": Illness(ERRS, "ServerErrors", serves_first=True),
    "hangs": Illness(HANGS, "ReadinessLost", serves_first=True),
}


@dataclass
class Ward:
    """A ModelDeployment for each strategy and illness, each with its own requests; and what became of them."""

    stage: Stage
    loads: dict[str, Load] = field(default_factory=dict)
    ends: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the server of a version first ended badly, by ModelDeployment and version."""
    rejections: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_answers: dict[str, float] = field(default_factory=dict)
    """When the sick version answered well for the last time."""

    def discharge(self, name: str) -> None:
        """Remembers the first rejection of ``name``, if there is one by now, and asks for the good version.

        Otherwise what might have been bad luck would be tried a second time, and fail again, in the meantime.
        """
        found = self.stage.cluster.status(name).get("rejected")
        if found:
            self.rejections[name] = found[0]
            self.last_answers[name] = self.loads[name].counters().last.get(found[0]["version"], 0.0)
            self.stage.alias(name, GOOD)


@pytest.fixture(scope="module")
def ward(request: pytest.FixtureRequest, shared_stage: Stage) -> Ward:
    """All serve version 1, settled, under requests; then all get their sick version at once."""
    names = [
        f"{how}-{illness}"
        for how in STRATEGIES
        for illness in ILLNESSES
        if any(i.module is request.module and f"[{how}-{illness}]" in i.name for i in request.session.items)
    ]
    ward, cluster = Ward(shared_stage), shared_stage.cluster
    for name in names:
        rollout = {"strategy": STRATEGIES[name.split("-", 1)[0]], "watchSeconds": 1}
        shared_stage.create(name, rollout=rollout, pod={"terminationGracePeriodSeconds": 15})
    for name in names:
        cluster.until_serving(name, GOOD, PATIENCE)
        cluster.until("its watch is over", lambda n=name: cluster.status(n)["serving"].get("settled"))
        ward.loads[name] = Load.start(cluster, name, rate=5)
        cluster.commit(name, {"rollout": {"watchSeconds": 600}})
    for name in names:
        shared_stage.alias(name, ILLNESSES[name.split("-", 1)[1]].version)

    def all_rejected() -> bool:
        first_ends(cluster, ward.ends)
        for name in names:
            if name not in ward.rejections:
                ward.discharge(name)
        return len(ward.rejections) == len(names)

    cluster.until("all are reverted", all_rejected, PATIENCE)
    return ward


@pytest.mark.parametrize("name", [f"{how}-{illness}" for illness in ILLNESSES for how in STRATEGIES])
def test_a_sick_version_is_gone_before_long(ward: Ward, figures: Figures, name: str) -> None:
    cluster, load = ward.stage.cluster, ward.loads[name]
    how, illness = name.split("-", 1)
    sick, strategy, rejection = ILLNESSES[illness], STRATEGIES[how], ward.rejections[name]
    assert (rejection["version"], rejection["side"], rejection["reason"]) == (
        sick.version,
        "Model",
        sick.reason,
    )
    status = cluster.until_serving(name, GOOD, PATIENCE)
    assert "Reverted" in {reason for reason, _ in cluster.events(name)}
    decided = moment(rejection["at"])
    if sick.serves_first:
        assert status["history"][0]["version"] == sick.version
        # one that errs goes on answering meanwhile
        since = decided - ward.last_answers[name]
        if illness == "hangs":
            figures.took(f"{strategy}, {illness}: last answer of the sick version, to the decision", since)
        back = cluster.until("version 1 answers", lambda: answered(load, decided), PATIENCE)
        figures.took(
            f"{strategy}, {illness}: decision, to the first answer of the old version", back - decided
        )
    # a pod that was gone between two looks left no end behind
    elif ended := ward.ends.get((name, sick.version)):
        figures.took(f"{strategy}, {illness}: first end of the container, to the decision", decided - ended)
    cluster.until("only version 1 is left", lambda: cluster.pod_versions(name) == [GOOD], PATIENCE)
    counted = load.stop()
    figures.sent(f"{strategy}, {illness}", counted)
    assert set(counted.erred) <= ({ERRS} if illness == "errs" else set())
    if illness == "hangs":
        # first nobody answers; once its only pod has lost Ready, nobody is there to be asked
        words = ("timed out", "Connection refused")
        assert all(any(word in failure["error"] for word in words) for failure in counted.failures), (
            counted.failures
        )
    else:
        assert counted.failed == 0, counted.failures


def answered(load: Load, after: float) -> float | None:
    """When version 1 answered first after that moment."""
    changes = [c["at"] for c in load.counters().changes if c["version"] == GOOD and c["at"] >= after]
    return float(changes[0]) if changes else None


# --- servers that exit a minute after each start ---------------------------------------------------------


def settled_on_version_1(stage: Stage, name: str, watch: int, **spec: Any) -> None:
    """Version 1 serves with two pods and is settled; the next version is watched for ``watch`` seconds."""
    cluster = stage.cluster
    stage.create(name, rollout={"watchSeconds": 1}, replicas=2, **spec)
    cluster.until_serving(name, GOOD, PATIENCE)
    cluster.until("its watch is over", lambda: cluster.status(name)["serving"].get("settled"))
    cluster.commit(name, {"rollout": {"watchSeconds": watch}})


def test_a_version_that_dies_every_minute_does_not_settle_at_the_end_of_its_window(
    shared_stage: Stage,
) -> None:
    name, cluster = "dies-in-its-window", shared_stage.cluster
    settled_on_version_1(shared_stage, name, watch=90)
    shared_stage.alias(name, DIES_EVERY_MINUTE)
    rejection = cluster.until_rejected(name, DIES_EVERY_MINUTE, 2 * PATIENCE)
    assert (rejection["reason"], rejection["side"]) == ("CrashLoop", "Model")
    assert rejection.get("served") is True
    shared_stage.alias(name, GOOD)
    status = cluster.until_serving(name, GOOD, PATIENCE)
    assert status["history"][0]["version"] == DIES_EVERY_MINUTE
    reasons = [reason for reason, _ in cluster.events(name)]
    assert {"ServerExited", "Reverted"} <= set(reasons)


def test_a_settled_version_in_a_crash_loop_is_reported_and_reverted_if_the_spec_allows_it(
    shared_stage: Stage,
) -> None:
    name, cluster = "dies-after-its-window", shared_stage.cluster
    settled_on_version_1(shared_stage, name, watch=10)
    shared_stage.alias(name, DIES_EVERY_MINUTE)
    cluster.until(
        "the sick version is settled",
        lambda: (s := cluster.status(name)["serving"])["version"] == DIES_EVERY_MINUTE and s.get("settled"),
        PATIENCE,
    )
    reported = cluster.until("it is reported", lambda: cluster.status(name)["serving"].get("reason"), 900)
    assert reported == "CrashLoop"
    stalled = next(c for c in cluster.status(name)["conditions"] if c["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "CrashLoop")
    assert not cluster.status(name).get("rejected"), "by default it is only reported"
    cluster.commit(name, {"revert": {"afterWatch": "Automatic"}})
    cluster.until_rejected(name, DIES_EVERY_MINUTE, 900)
    shared_stage.alias(name, GOOD)
    cluster.until_serving(name, GOOD, PATIENCE)
    assert "CrashLoop" in {reason for reason, _ in cluster.events(name)}
