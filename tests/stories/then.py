"""What must hold in a story. Each check fails with the values that it compared and the transcript."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stories.simulation import SimulatedCluster

from model_operator.domain.objects import Kind

__tracebackhide__ = True
"""A failure shows the line of the story, not the check's own."""
ABSENT = "(absent)"
"""For fields that must not be there."""


@dataclass(frozen=True)
class Recording:
    """The golden transcript of one test."""

    file: Path
    update: bool
    """Whether it is written anew in place of being compared."""


@dataclass(frozen=True)
class Then:
    """Checks of the present moment, but for those that say how long they wait."""

    cluster: SimulatedCluster
    recording: Recording

    def _equal(self, found: Any, expected: Any, why: str = "") -> None:
        if found != expected:
            story = "\n".join(self.cluster.transcript)
            raise AssertionError(
                f"{why or 'not as expected'}\nfound:    {found}\nexpected: {expected}\n{story}"
            )

    # --- the transcript -------------------------------------------------------------------------

    def transcript_matches(self, rests: bool = True) -> None:
        """The transcript equals the golden file; then nothing is written for ten minutes after the watch window.

        ``rests=False`` is for a story that ends with something under way.
        """
        text, file = "\n".join(self.cluster.transcript) + "\n", self.recording.file
        if self.recording.update:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
        assert file.exists(), "this story has no transcript: run pytest with --update-golden and read it"
        # pytest shows the lines that differ
        assert text == file.read_text("utf-8")
        if rests:
            self.cluster.pass_watch(step=30)
            self.it_rests(600)

    def it_rests(self, seconds: float) -> None:
        """Nothing is written from now on, though the operator looks at every step of time."""
        self.cluster.wakes_always = True
        self.nothing_is_written_for(seconds, step=20)

    def nothing_is_written_for(self, seconds: float, step: float = 1) -> None:
        """Time passes without a write, a change of the status or an event."""
        before = self._written()
        self.cluster.pass_time(seconds, step)
        self._equal(self._written(), before, f"nothing may be written for {seconds:g} s")

    def no_child_is_written_for(self, seconds: float) -> None:
        """Time passes without a write, except to the status."""
        before = self.cluster.writes
        self.cluster.pass_time(seconds)
        self._equal(self.cluster.writes, before, f"writes in {seconds:g} s in which none may be made")

    def _written(self) -> dict[str, int]:
        found = self.cluster
        return {
            "writes": found.writes,
            "writes of the status": found.status_writes,
            "events": len(found.announced),
        }

    # --- requests and pods ----------------------------------------------------------------------

    def version_serves(self, version: str, pods: int = 2, why: str = "") -> None:
        """The Service reaches that many pods, all of that version."""
        self._equal(self.cluster.serving_versions(), {version: pods}, why)

    def nothing_serves(self) -> None:
        """The Service reaches no pod."""
        self._equal(self.cluster.serving_versions(), {})

    def no_other_version_serves(self, version: str) -> None:
        """The Service reaches pods of that version, or none."""
        self._equal(self.cluster.serving_versions().keys() | {version}, {version})

    def preview_shows(self, version: str, pods: int = 2) -> None:
        """The Service for the candidate reaches that many pods of that version."""
        self._equal(self.cluster.previewed_versions(), {version: pods})

    def there_is_no_preview(self) -> None:
        """The candidate has no Service."""
        self._equal(self.cluster.previewed_versions(), {})
        self.there_is_no(Kind.SERVICE, "churn-candidate")

    def no_request_is_lost(self, pods: int = 2) -> None:
        """Every request was answered, and the Service always reached at least so many pods."""
        self._equal(self.cluster.requests_lost, 0, "requests were lost")
        assert self.cluster.fewest_ready >= pods, f"the Service reached only {self.cluster.fewest_ready} pods"

    def pods_are(self, names: Collection[str], why: str = "") -> None:
        """The pods are these, and no others."""
        self._equal({pod.name for pod in self.cluster.pods}, set(names), why)

    def pods_are_new(self, before: Collection[str]) -> None:
        """The Service reaches none of these pods."""
        reached = {pod.name for pod in self.cluster.kubernetes.reached(self.cluster.now)}
        self._equal(reached & set(before), set())

    # --- children -------------------------------------------------------------------------------

    def tracks_are(self, sizes: dict[str, int], why: str = "") -> None:
        """The Deployments are these, with so many replicas."""
        self._equal(self.cluster.sizes(), sizes, why)

    def replicas_add_up_to(self, number: int, why: str = "") -> None:
        """All tracks together want so many pods."""
        self._equal(sum(self.cluster.sizes().values()), number, why)

    def autoscaler_scales(self, track: str) -> None:
        """The autoscaler's target is the Deployment of that name."""
        self._equal(self.cluster.live(Kind.AUTOSCALER)["spec"]["scaleTargetRef"]["name"], track)

    def there_is_no(self, kind: Kind, name: str = "churn", why: str = "") -> None:
        """The child does not exist."""
        self._equal((kind, name) in self.cluster.objects, False, why)

    def children_are_owned_by(self, uid: str) -> None:
        """The controlling owner of every child has that UID."""
        owners = {child["metadata"]["ownerReferences"][0]["uid"] for child in self.cluster.objects.values()}
        self._equal(owners, {uid})

    # --- status, events and tags ----------------------------------------------------------------

    def condition_is(self, kind: str, status: str, reason: str, why: str = "") -> None:
        """The condition has that status and reason."""
        self._equal((kind, *self.cluster.condition(kind)), (kind, status, reason), why)

    def condition_is_absent(self, kind: str) -> None:
        """The status has no such condition."""
        self._equal((kind, *self.cluster.condition(kind)), (kind, "", ""))

    def is_not_ready(self) -> None:
        """Ready is false, for whatever reason."""
        self._equal(self.cluster.condition("Ready")[0], "False")

    def serving_has(self, **fields: Any) -> None:
        """``status.serving`` has these fields."""
        self._has(self.cluster.status["serving"], fields)

    def candidate_has(self, **fields: Any) -> None:
        """``status.candidate`` has these fields."""
        self._has(self.cluster.status["candidate"], fields)

    def there_is_no_candidate(self) -> None:
        """No rollout is under way."""
        self._equal(self.cluster.status.get("candidate"), None)

    def rejection_has(self, **fields: Any) -> None:
        """The newest entry of ``status.rejected`` has these fields."""
        self._has(self.cluster.status["rejected"][0], fields)

    def rejections_are(self, *versions: str, why: str = "") -> None:
        """These versions are rejected, in this order; none when none is named."""
        self._equal([past["version"] for past in self.cluster.status.get("rejected", [])], [*versions], why)

    def history_is(self, *versions: str) -> None:
        """``status.history`` has these versions, the newest first."""
        self._equal([past["version"] for past in self.cluster.status["history"]], [*versions])

    def last_departure_has(self, **fields: Any) -> None:
        """The newest entry of ``status.history`` has these fields."""
        self._has(self.cluster.status["history"][0], fields)

    def handled_requests_are(self, **requests: str) -> None:
        """``status.handledRequests`` is this."""
        self._equal(self.cluster.status["handledRequests"], requests)

    def operator_emitted(self, reason: str, times: int, why: str = "") -> None:
        """There were so many events of that reason since the ModelDeployment was made."""
        self._equal(self.cluster.announced.count(reason), times, why or f"events with the reason {reason}")

    def operator_emitted_at_most(self, reason: str, times: int) -> None:
        """There were no more events of that reason since the ModelDeployment was made."""
        found = self.cluster.announced.count(reason)
        assert found <= times, f"{found} events with the reason {reason}"

    def tag_is(self, version: str, value: str) -> None:
        """The operator tagged the version so in the registry."""
        self._equal(self.cluster.written_tags.get(version, ABSENT), value)

    def tags_are(self, tags: dict[str, str]) -> None:
        """The operator tagged these versions, and no others."""
        self._equal(self.cluster.written_tags, tags)

    def _has(self, found: dict[str, Any], expected: dict[str, Any]) -> None:
        self._equal({key: found.get(key, ABSENT) for key in expected}, expected)
