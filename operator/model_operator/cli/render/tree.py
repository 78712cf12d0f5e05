"""The tree of ``kubectl model status``: alias, resolved version, tracks, pods, and the reason for a delay. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from model_operator.api.status import Candidate, Condition, PlannedStep, Rejected
from model_operator.cli.render.terminal import Terminal
from model_operator.cli.snapshot import PodLine, Snapshot, age, pod_lines
from model_operator.cli.summary import Summary, Verdict
from model_operator.domain.objects import read_time

PODS_SHOWN = 8
REJECTED_SHOWN = 3
HISTORY_SHOWN = 3

_CONDITIONS = {"True": "good", "False": "bad", "Unknown": "warning"}
_GATES = {
    "Passed": "good",
    "Failed": "bad",
    "Overridden": "warning",
    "Warned": "warning",
    "Pending": "moving",
}
_WAITING = frozenset({"WaitingForApproval", "ReadyForTraffic", "WaitingForSlot"})


def status_tree(snapshot: Snapshot, summary: Summary, terminal: Terminal) -> RenderableType:
    """Returns the tree and, below it, the next step if there is one."""
    painter = _Painter(snapshot, terminal)
    tree = Tree(painter.headline(summary), guide_style="dim")
    tree.add(painter.target())
    for condition in painter.conditions():
        tree.add(condition)
    for label, revisions in painter.tracks():
        branch = tree.add(label)
        for revision, pods in revisions:
            leaf = branch.add(revision)
            for pod in pods:
                leaf.add(pod)
    for label, lines in (painter.plan(), painter.rejections(), painter.history()):
        if lines:
            branch = tree.add(label)
            for line in lines:
                branch.add(line)
    return Group(tree, painter.next_step(summary)) if summary.remedy else tree


def plan_tree(snapshot: Snapshot, terminal: Terminal) -> RenderableType:
    """Returns the next step alone, in full."""
    painter = _Painter(snapshot, terminal)
    label, lines = painter.plan()
    tree = Tree(label, guide_style="dim")
    for line in lines:
        tree.add(line)
    return tree


@dataclass(frozen=True, slots=True)
class _Painter:
    snapshot: Snapshot
    terminal: Terminal

    # --- the head ----------------------------------------------------------------------------------

    def headline(self, summary: Summary) -> RenderableType:
        name, space = self.snapshot.name, self.snapshot.namespace
        said = summary.reason if summary.verdict is not Verdict.CURRENT else "current and ready"
        if self.snapshot.suspended and summary.reason != "Suspended":
            said += ", suspended"
        text = Text.assemble((name, "bold"), f" in {space}: ", self._words(said))
        if not self._is_shown(summary.message):
            text.append(f"\n{self._words(summary.message)}")
        return self._line(summary.icon, text)

    def target(self) -> RenderableType:
        resolved, condition = self.snapshot.status.resolved, self.snapshot.condition("Resolved")
        signs = self.terminal.signs
        text = Text.assemble((self._words(self.snapshot.reference), "bold"))
        if resolved:
            text.append(f" {signs.arrow} version {self._words(resolved.version)}")
            text.append(f" {signs.dot} since {self._age(resolved.at)}", "dim")
        if condition is None:
            return self._line("moving", text)
        if condition.status != "True":
            text.append(f"\n{self._words(condition.reason)}: {self._words(condition.message)}")
        return self._line(_CONDITIONS[condition.status], text)

    def conditions(self) -> Iterator[RenderableType]:
        """Yields one line for each state. Conditions with the same state share a line."""
        # Admitted and Reconciling are shown only if they add something
        resolved = self.snapshot.condition("Resolved")
        told = {resolved.message} if resolved and resolved.status != "True" else set()
        said: dict[tuple[str, str, str], list[str]] = {}
        for kind in ("Ready", "Current", "Admitted", "Reconciling"):
            found = self.snapshot.condition(kind)
            if found is None or (kind == "Admitted" and self._adds_nothing(found)):
                continue
            if kind == "Reconciling" and found.message in told:
                continue
            same = (found.status, found.reason, found.message) in said
            message = (
                "" if found.reason == "Serving" or (found.message in told and not same) else found.message
            )
            told.add(found.message)
            said.setdefault((found.status, found.reason, message), []).append(kind)
        for (status, reason, message), kinds in said.items():
            yield self._condition(kinds, status, reason, message)

    def _condition(self, kinds: Sequence[str], status: str, reason: str, message: str) -> RenderableType:
        icon = _CONDITIONS[status]
        if kinds == ["Reconciling"] or (status != "True" and self._is_under_way()):
            icon = "moving"
        if status != "True" and reason in ("WaitingForApproval", "RevisionHeld", "Suspended"):
            icon = "waiting"
        text = Text.assemble((" and ".join(kinds), "bold"), f" {self._words(reason)}")
        if message:
            text.append(f"\n{self._words(message)}")
        return self._line(icon, text)

    def _is_shown(self, message: str | None) -> bool:
        """Whether a condition at the top already has the message."""
        told = [found.message for kind in ("Ready", "Current") if (found := self.snapshot.condition(kind))]
        return any((message or "") in text for text in told)

    def _adds_nothing(self, admitted: Condition | None) -> bool:
        """Whether the plan's gates already show the content of the condition Admitted."""
        plan = self.snapshot.status.plan
        return admitted is None or admitted.status == "True" or bool(plan and plan.gates)

    def _is_under_way(self) -> bool:
        return self.snapshot.is_true("Reconciling") and not self.snapshot.is_true("Stalled")

    # --- tracks and pods ---------------------------------------------------------------------------

    def tracks(self) -> Iterator[tuple[RenderableType, list[tuple[RenderableType, list[RenderableType]]]]]:
        status, pods = self.snapshot.status, pod_lines(self.snapshot)
        serving, candidate = status.serving, status.candidate
        live = (serving.track if serving else None) or ""
        homes = [live, (candidate.track if candidate else None) or "", *sorted({pod.track for pod in pods})]
        for track in dict.fromkeys(home for home in homes if home):
            text = Text.assemble("track ", (self._words(track), "bold"))
            if track == live:
                text.append(f" {self.terminal.signs.dot} takes requests", "dim")
                if status.replicas:
                    text.append(f", {status.ready_replicas or 0} of {status.replicas} pods ready", "dim")
            yield (
                self._line("note", text),
                list(self._revisions(track, [p for p in pods if p.track == track])),
            )

    def _revisions(
        self, track: str, pods: Sequence[PodLine]
    ) -> Iterator[tuple[RenderableType, list[RenderableType]]]:
        status = self.snapshot.status
        expected = [
            found.revision
            for found in (status.serving, status.candidate)
            if found and found.track == track and found.revision
        ]
        for revision in dict.fromkeys([*expected, *(pod.revision for pod in pods)]):
            mine = [pod for pod in pods if pod.revision == revision]
            lines = [self._pod(pod) for pod in mine[:PODS_SHOWN]]
            if len(mine) > PODS_SHOWN:
                ready = sum(pod.ready for pod in mine[PODS_SHOWN:])
                lines.append(
                    self._line("note", Text(f"and {len(mine) - PODS_SHOWN} more, {ready} of them ready"))
                )
            if self.snapshot.pods is None:
                lines.append(self._line("warning", Text("you may not read its pods")))
            elif not mine:
                lines.append(self._line("note", Text("no pods", "dim")))
            yield self._revision(revision, mine[0].version if mine else ""), lines

    def _revision(self, revision: str, version: str) -> RenderableType:
        serving, candidate = self.snapshot.status.serving, self.snapshot.status.candidate
        dot = self.terminal.signs.dot
        if serving and serving.revision == revision:
            text = Text.assemble((f"version {self._words(serving.version)}", "bold"))
            text.append(f" serving for {self._age(serving.since)}")
            if serving.settled:
                text.append(", settled")
            elif serving.watch_ends:
                text.append(f", {self._age(serving.watch_ends)} left in its watch window")
            if serving.self_test:
                text.append(f" {dot} self-test {self._words(serving.self_test)}", "dim")
            text.append(f" {dot} {revision}", "dim")
            if serving.message:
                text.append(f"\n{self._words(serving.reason)}: {self._words(serving.message)}")
            if serving.errors_not_judged:
                since = self._age(serving.errors_not_judged_since)
                text.append(f"\n5xx not judged for {since}: {self._words(serving.errors_not_judged)}")
            return self._line("warning" if serving.reason else "good", text)
        if candidate and candidate.revision == revision:
            return self._candidate(candidate)
        rejected = next(
            (found for found in self.snapshot.status.rejected if found.revision == revision), None
        )
        role = " was rejected" if rejected else ", previous"
        text = Text.assemble((f"version {self._words(version or revision)}", "bold"), role)
        text.append(f" {dot} {self._words(revision)}", "dim")
        return self._line("bad" if rejected else "note", text)

    def _candidate(self, candidate: Candidate) -> RenderableType:
        dot, phase = self.terminal.signs.dot, candidate.phase or "?"
        text = Text.assemble((f"version {self._words(candidate.version)}", "bold"))
        text.append(f" {self._words(phase)} for {self._age(candidate.since)}")
        if until := read_time(candidate.deadline):
            left = age(until, self.snapshot.now)
            text.append(f", {left} left" if until > self.snapshot.now else f", {left} overdue")
        if candidate.attempts and candidate.attempts > 1:
            text.append(f", attempt {candidate.attempts}")
        if candidate.retry_at:
            text.append(f", tried again in {self._age(candidate.retry_at)}")
        text.append(f" {dot} {self._words(candidate.revision or '')}", "dim")
        if candidate.message and not self._is_shown(candidate.message):
            reason = f"{self._words(candidate.reason)}: " if candidate.reason else ""
            text.append(f"\n{reason}{self._words(candidate.message)}")
        icon = "moving"
        if phase in _WAITING:
            icon = "waiting"
        elif phase == "Failed":
            icon = "bad"
        elif phase == "Withdrawn" or candidate.reason:
            icon = "warning"
        return self._line(icon, text)

    def _pod(self, pod: PodLine) -> RenderableType:
        text = Text.assemble(
            self._words(pod.name), f"  {pod.phase.lower()}, {age(pod.since, self.snapshot.now)}"
        )
        if pod.restarts:
            text.append(f", {pod.restarts} restart" + ("s" if pod.restarts > 1 else ""))
        if pod.message and not pod.ready:
            told = "" if self._is_shown(pod.message) else f": {self._words(pod.message)}"
            text.append(f"\n{pod.reason}{told}")
        icon = "good" if pod.ready else "moving"
        if pod.reason and not pod.ready:
            icon = "bad"
        elif pod.phase in ("Leaving", "Gone"):
            icon = "note"
        return self._line(icon, text)

    # --- plan, rejections, history -----------------------------------------------------------------

    def plan(self) -> tuple[RenderableType, list[RenderableType]]:
        step = self.snapshot.status.plan
        if step is None:
            return Text(), []
        return self._line("note", Text(f"plan {self.from_to(step)}")), list(self.plan_lines(step))

    def from_to(self, step: PlannedStep) -> str:
        """Returns the step in a few words: both versions and the strategy."""
        before = f"{step.from_} {self.terminal.signs.arrow} " if step.from_ else ""
        return self._words(f"version {before}{step.to}, {step.strategy or '?'}")

    def plan_lines(self, step: PlannedStep) -> Iterator[RenderableType]:
        """Yields the effect of the step, the resources that it needs, and the result of each gate."""
        if step.message:
            yield self._line("note", Text(self._words(step.message)))
        if step.extra_pods and step.extra_resources:
            needs = ", ".join(f"{amount} {name}" for name, amount in step.extra_resources.items())
            pods = f"{step.extra_pods} more pod" + ("s" if step.extra_pods > 1 else "")
            yield self._line("note", Text(self._words(f"the scheduler has to find room for {pods}: {needs}")))
        for gate in step.gates:
            text = Text.assemble(("gate ", ""), (self._words(gate.gate), "bold"))
            text.append(f" {self._words(gate.outcome or '')}: {self._words(gate.message or '')}")
            yield self._line(_GATES.get(gate.outcome or "", "note"), text)
        for difference in step.signature:
            yield self._line("note", Text(self._words(difference)))

    def rejections(self) -> tuple[RenderableType, list[RenderableType]]:
        found = self.snapshot.status.rejected
        lines = [self._rejection(rejection) for rejection in found[:REJECTED_SHOWN]]
        if len(found) > REJECTED_SHOWN:
            lines.append(self._line("note", Text(f"and {len(found) - REJECTED_SHOWN} more")))
        return self._line("note", Text("rejected")), lines

    def _rejection(self, rejection: Rejected) -> RenderableType:
        text = Text.assemble((f"version {self._words(rejection.version)}", "bold"))
        text.append(f" {self._words(rejection.reason)}, {self._age(rejection.at)} ago")
        text.append(f" {self.terminal.signs.dot} side: {self._words(rejection.side or '?')}", "dim")
        if rejection.attempts and rejection.attempts > 1:
            text.append(f", {rejection.attempts} attempts", "dim")
        if rejection.retry_at:
            text.append(f", tried again in {self._age(rejection.retry_at)}", "dim")
        if not self._is_shown(rejection.message):
            text.append(f"\n{self._words(rejection.message)}")
        return self._line("bad", text)

    def history(self) -> tuple[RenderableType, list[RenderableType]]:
        found = self.snapshot.status.history
        lines: list[RenderableType] = []
        for past in found[:HISTORY_SHOWN]:
            text = Text.assemble((f"version {self._words(past.version)}", "bold"))
            text.append(f" until {self._age(past.to)} ago: {self._words(past.reason)}")
            lines.append(self._line("note", text))
        if len(found) > HISTORY_SHOWN:
            lines.append(
                self._line("note", Text(f"and {len(found) - HISTORY_SHOWN} more: kubectl model history"))
            )
        return self._line("note", Text("previous")), lines

    def next_step(self, summary: Summary) -> RenderableType:
        return Text.assemble((f"next {self.terminal.signs.arrow} ", "bold"), self._words(summary.remedy))

    # --- parts -------------------------------------------------------------------------------------

    def _line(self, icon: str, text: Text) -> RenderableType:
        """Returns an icon, with text that wraps beside it."""
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column(overflow="fold")
        line.add_row(self.terminal.icon(icon), text)
        return line

    def _words(self, text: object) -> str:
        return self.terminal.signs.words(text or "")

    def _age(self, moment: str | None) -> str:
        found: datetime | None = read_time(moment)
        return age(found, self.snapshot.now)
