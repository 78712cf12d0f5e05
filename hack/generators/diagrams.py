"""The diagrams of the design: boxes and arrows. Phases, steps, limits and rights come from the sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from model_operator.api.choices import STRATEGIES
from model_operator.api.spec import PodSpec, RolloutSpec
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Phase
from model_operator.planner.decision import ATTEMPTS, FIRST_RETRY, LONGEST_RETRY
from model_operator.planner.health import REASONS
from model_operator.planner.health.serving import ENOUGH_REQUESTS, ERROR_RATIO, READINESS_PATIENCE
from model_operator.planner.plan import STEPS

WIDTH = 960
LINE_HEIGHT = 15
_CHARACTER = 6.7
"""Width of a character of the small font, in the widest of the fonts that may be chosen."""

STYLE = Path(__file__).with_suffix(".css").read_text("utf-8")
_MARKER = """\
  <defs>
    <marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">
      <path class="head" d="M0 0 L10 5 L0 10 z"/>
    </marker>
  </defs>"""


@dataclass(frozen=True)
class Box:
    """A rectangle with a name and smaller lines below it."""

    x: int
    y: int
    width: int
    height: int
    name: str
    text: str = ""
    look: str = "box"
    """A class of STYLE."""


@dataclass(frozen=True)
class Arrow:
    """A line from point to point with a head at its end."""

    points: Sequence[tuple[int, int]]
    dashed: bool = False


@dataclass(frozen=True)
class Words:
    """A line of text. Its anchor is start, middle or end."""

    x: int
    y: int
    text: str
    look: str = "muted"
    anchor: str = "start"


@dataclass(frozen=True)
class Diagram:
    """Zones lie below the arrows, boxes and words above them."""

    title: str
    description: str
    height: int
    zones: Sequence[Box] = ()
    arrows: Sequence[Arrow] = ()
    boxes: Sequence[Box] = ()
    words: Sequence[Words] = field(default_factory=tuple)


def make_diagrams(operator_manifest: str) -> dict[str, Diagram]:
    """Returns the diagrams by file name. ``operator_manifest`` is the rendered chart, which has the rights."""
    return {
        "decision.svg": _decision(),
        "rollout-life.svg": _rollout_life(),
        "revert-life.svg": _revert_life(),
        "canary-planned.svg": _canary(),
        "rights.svg": _rights(operator_manifest),
    }


def render(operator_manifest: str) -> dict[str, str]:
    """Returns the text of each diagram by file name."""
    made = make_diagrams(operator_manifest)
    return {name: "\n".join(_svg(diagram)) + "\n" for name, diagram in made.items()}


# --- the decision ------------------------------------------------------------------------------------------

_STEP_TEXTS = {
    "forgive_configuration_rejections": "A new commit clears the rejections of side Configuration.",
    "judge_candidate": "The pods of the candidate decide: wait, go live, reject or withdraw.",
    "judge_refused_template": "The API server rejected the pod template: reject the candidate, or wait.",
    "judge_serving": "In its watch window, the serving revision settles or is reverted.",
    "follow_target": "Find the desired revision, check it, and make it the candidate.",
    "_answer_adoption": "Record the answer to the annotation adopt.",
}
"""A line for each step of the plan. A step without one stops the generator."""


def _decision() -> Diagram:
    top, row = 112, 50
    boxes = [
        Box(24, 112, 170, 290, "World", "the ModelDeployment, its children, the version in the "
            "registry, requests and 5xx of the pods, rejected writes, the time", "new"),
        Box(766, 112, 170, 290, "Plan", "writes to children, the whole status, events, tags in the "
            "registry, the time of the next look", "old"),
    ]  # fmt: skip
    arrows = [Arrow([(194, 140), (226, 140)]), Arrow([(734, 374), (766, 374)])]
    for number, step in enumerate(STEPS):
        name = step.decide.__name__
        boxes.append(Box(226, top + number * row, 508, 40, name.lstrip("_"), _STEP_TEXTS[name], "box"))
        if number:
            arrows.append(Arrow([(480, top + number * row - 10), (480, top + number * row)]))
    words = [
        Words(24, 58, "The operator takes these steps in this order each time it looks at a ModelDeployment."),
        Words(24, 78, "It only reports, and skips all of them, if the spec can't be read, if spec.suspend is true, "
              "if a name conflicts,"),
        Words(24, 96, "or while children of a deleted ModelDeployment of the same name are still there."),
    ]  # fmt: skip
    return Diagram(
        "One decision: plan(world)",
        "The world, that is everything observed about one ModelDeployment, goes through the steps "
        + ", ".join(step.decide.__name__.lstrip("_") for step in STEPS)
        + ". The result is a plan: writes, status, events, tags and the time of the next look.",
        top + len(STEPS) * row + 10,
        arrows=arrows,
        boxes=boxes,
        words=words,
    )


# --- the life of a rollout ---------------------------------------------------------------------------------

_LIMITS = RolloutSpec()
_PHASES: Mapping[Phase, tuple[int, int, int, str, str]] = {
    Phase.WAITING_FOR_APPROVAL: (356, 84, 174, "only with approval BeforeStart", "wait"),
    Phase.WAITING_FOR_SLOT: (576, 84, 160, "only at the limit of rollouts at once", "wait"),
    Phase.APPLYING: (80, 226, 104, "the new pod template", "new"),
    Phase.SCHEDULING: (208, 226, 114, f"a node, at most {_LIMITS.scheduling_seconds} s", "new"),
    Phase.FETCHING: (346, 226, 124, f"image and model, at most {_LIMITS.fetch_seconds} s", "new"),
    Phase.STARTING: (494, 226, 124, f"load, self-test, at most {_LIMITS.startup_seconds} s", "new"),
    Phase.ROLLING: (642, 226, 104, "one pod is ready, or more", "new"),
    Phase.READY: (770, 226, 150, "only with approval BeforeTraffic", "wait"),
    Phase.WITHDRAWN: (60, 420, 196, "", "wait"),
    Phase.FAILED: (496, 420, 174, "nothing to revert to, or revert.policy Never. Pods keep trying", "bad"),
}
"""Where each phase is drawn: x, y, width, its text and its look. A phase without a place stops the generator."""


def _rollout_boxes() -> list[Box]:
    """The phases, and the states before and after them."""
    retry = f"side {Side.ENVIRONMENT.value}. Retried after {FIRST_RETRY.total_seconds():.0f} s, then twice as long "
    retry += f"each time, at most {LONGEST_RETRY.total_seconds() / 3600:.0f} h"
    thrice = [
        name for name, known in REASONS.items() if not known.definite and known.side is not Side.ENVIRONMENT
    ]
    boxes = [
        Box(x, y, width, 80 if y == 226 else 100 if y == 420 else 64, phase.value,
            retry if phase is Phase.WITHDRAWN else text, look)
        for phase, (x, y, width, text, look) in _PHASES.items()
    ]  # fmt: skip
    boxes += [
        Box(24, 84, 130, 64, "Start", "alias moved, or pods changed", "box"),
        Box(198, 84, 114, 64, "Gates", "tags, metrics and more", "box"),
        Box(278, 420, 196, 100, "rejected", f"side {Side.MODEL.value} or {Side.CONFIGURATION.value}. "
            f"{thrice[0]} and {len(thrice) - 1} others after {ATTEMPTS} tries", "bad"),
        Box(692, 420, 122, 100, "serving", f"watch window: {_LIMITS.watch_seconds} s", "old"),
        Box(846, 420, 90, 100, "settled", "a revert leads here", "old"),
    ]  # fmt: skip
    return boxes


def _rollout_life() -> Diagram:
    if missing := set(Phase) - _PHASES.keys():
        raise ValueError(f"give these phases a place in hack/generators/diagrams.py: {sorted(missing)}")
    boxes = _rollout_boxes()
    inside = [phase for phase in Phase if phase.in_flight]
    if any(_PHASES[phase][1] != 226 for phase in inside):
        raise ValueError("a phase with pods is drawn outside of its zone")
    row = sorted(inside, key=lambda phase: _PHASES[phase][0])
    arrows = [
        Arrow([(154, 116), (198, 116)]),
        Arrow([(312, 116), (356, 116)]),
        Arrow([(530, 116), (576, 116)]),
    ]
    for before, after in pairwise(row):
        arrows.append(Arrow([(sum(_PHASES[before][0:3:2]), 266), (_PHASES[after][0], 266)]))
    arrows += [
        Arrow([(736, 116), (780, 116), (780, 176), (132, 176), (132, 226)]),
        Arrow([(158, 350), (158, 420)]),
        Arrow([(376, 350), (376, 420)]),
        Arrow([(583, 350), (583, 420)]),
        Arrow([(753, 350), (753, 420)]),
        Arrow([(814, 470), (846, 470)]),
        Arrow([(60, 470), (40, 470), (40, 148)], dashed=True),
    ]
    words = [
        Words(24, 58, "Suppose version 7 is serving. Names such as Fetching are phases of the candidate: "
              "status.candidate.phase."),
        Words(76, 338, "A Deployment runs the candidate. If the alias moves on, a new candidate replaces this one. "
              "If it moves back, it is dropped."),
        Words(166, 394, "environment"),
        Words(384, 394, "failure"),
        Words(591, 394, "failure, no way back"),
        Words(761, 394, "all pods ready"),
        Words(753, 546, "fails in its watch window: the life of a revert", anchor="middle"),
    ]  # fmt: skip
    return Diagram(
        "The life of a rollout",
        "A moved alias or changed pods start a rollout. Gates come first, then "
        + ", ".join(phase.value for phase in (Phase.WAITING_FOR_APPROVAL, Phase.WAITING_FOR_SLOT))
        + " where they apply. With pods, the phases are "
        + ", ".join(phase.value for phase in row)
        + f". It ends as serving and then settled, as rejected, as {Phase.WITHDRAWN.value}, which is retried, or as "
        f"{Phase.FAILED.value} where nothing else can serve.",
        568,
        zones=[Box(60, 206, 876, 144, "", look="zone")],
        arrows=arrows,
        boxes=boxes,
        words=words,
    )


# --- the life of a revert ----------------------------------------------------------------------------------


def _revert_life() -> Diagram:
    window, patience = _LIMITS.watch_seconds, int(READINESS_PATIENCE.total_seconds())
    boxes = [
        Box(24, 84, 180, 110, "Version 8 is serving", f"watch window: {window} s. Version 7 is settled", "new"),
        Box(268, 84, 190, 110, "Failure", f"crashes, memory, no readiness for {patience} s, or "
            f"{ERROR_RATIO:.0%} of at least {ENOUGH_REQUESTS} requests with 5xx", "bad"),
        Box(522, 84, 180, 110, "Verdict", "first: version 8 is rejected, in the status and beside its revision", "bad"),
        Box(766, 84, 170, 110, "Pods of version 7", "the stored template. With BlueGreen they are still warm", "wait"),
        Box(766, 262, 170, 92, "Version 7 is serving", "it counts as settled. No further revert", "old"),
        Box(24, 262, 180, 92, "Version 8 is settled", "a later failure does not revert it", "old"),
        Box(268, 262, 190, 92, "reported only", "revert.policy Never, or no earlier version. 8 keeps serving, "
            "Ready is False", "wait"),
        Box(522, 262, 180, 92, "RevertBlocked", "no pod of version 7 can start. Its pods keep trying", "bad"),
        Box(766, 416, 170, 92, "VerdictTakenBack", f"version 8 is retried after {FIRST_RETRY.total_seconds():.0f} s, "
            "with growing delay", "wait"),
        Box(268, 416, 434, 92, "Version 8 stays rejected", "until you move the alias to another version, commit a "
            "change that can fix it, or run kubectl model retry", "box"),
    ]  # fmt: skip
    arrows = [
        Arrow([(204, 139), (268, 139)]),
        Arrow([(458, 139), (522, 139)]),
        Arrow([(702, 139), (766, 139)]),
        Arrow([(851, 194), (851, 262)]),
        Arrow([(114, 194), (114, 262)]),
        Arrow([(363, 194), (363, 262)]),
        Arrow([(786, 194), (786, 226), (612, 226), (612, 262)]),
        Arrow([(851, 354), (851, 416)]),
        Arrow([(734, 139), (734, 462), (702, 462)], dashed=True),
    ]
    words = [
        Words(24, 58, "The verdict is written before the first step that carries it out, so the next operator "
              "process continues the same revert."),
        Words(122, 222, "nothing fails"),
        Words(371, 222, "no way back"),
        Words(859, 222, "pods ready:", look="muted"),
        Words(859, 238, "traffic moves"),
        Words(620, 246, "can't start"),
        Words(859, 380, "fails the"),
        Words(859, 396, "same way"),
    ]  # fmt: skip
    return Diagram(
        "The life of a revert",
        "Version 8 fails in its watch window. The operator records the verdict, restores the stored pods of version 7 "
        "and moves the traffic back. Version 8 stays rejected. Without a way back the failure is only reported. If "
        "version 7 can't start, the reason is RevertBlocked. If it fails in the same way, the verdict is withdrawn.",
        530,
        arrows=arrows,
        boxes=boxes,
        words=words,
    )


# --- the place of a canary ---------------------------------------------------------------------------------


def _canary() -> Diagram:
    planned = "Canary" not in STRATEGIES
    mark = " (planned)" if planned else ""
    strategies = ", ".join(STRATEGIES)
    boxes = [
        Box(24, 124, 150, 84, "Pods start", "fetch, load, self-test. No requests yet", "new"),
        Box(214, 124, 150, 84, "All pods ready", "approved, if you require it", "new"),
        Box(404, 120, 190, 92, f"Canary{mark}", "the candidate gets a share of the requests, in steps",
            "planned" if planned else "new"),
        Box(634, 124, 148, 84, "serving", f"all requests. Watch window: {_LIMITS.watch_seconds} s", "old"),
        Box(822, 124, 114, 84, "settled", "a revert leads here", "old"),
        Box(404, 258, 190, 64, "rejected", "version 7 keeps serving", "bad"),
    ]  # fmt: skip
    arrows = [
        Arrow([(174, 166), (214, 166)]),
        Arrow([(364, 166), (404, 166)], dashed=planned),
        Arrow([(594, 166), (634, 166)], dashed=planned),
        Arrow([(782, 166), (822, 166)]),
        Arrow([(499, 212), (499, 258)], dashed=planned),
        Arrow([(289, 124), (289, 102), (699, 102), (699, 124)]),
    ]
    today = "now: the traffic moves without a canary" if planned else "the other strategies"
    words = [
        Words(24, 58, f"The strategies of this version: {strategies}."
              + (" There is no canary and no traffic split. Dashed parts are planned." if planned else "")),
        Words(494, 94, today, anchor="middle"),
        Words(507, 240, "failure"),
    ]  # fmt: skip
    return Diagram(
        f"The place of a canary in a rollout{mark}",
        "After all pods are ready and before the version serves all requests, a canary gives the candidate a share of "
        "the requests, in steps. "
        + ("It is planned and not part of this version. " if planned else "")
        + f"The strategies are {strategies}.",
        342,
        arrows=arrows,
        boxes=boxes,
        words=words,
    )


# --- rights ---------------------------------------------------------------------------------------------------

_COLUMNS = ("Registry", "ModelDeployment", "Children", "Pods", "Secrets", "Metrics")
_CHILDREN = ("deployments", "services", "configmaps", "horizontalpodautoscalers", "poddisruptionbudgets")
_READ = ["get", "list", "watch"]


def _rights(operator_manifest: str) -> Diagram:
    rules = {
        found["metadata"]["name"]: found["rules"]
        for found in yaml.safe_load_all(operator_manifest)
        if found["kind"] == "ClusterRole"
    }
    operator, view, edit = (rules[f"model-operator{suffix}"] for suffix in ("", "-view", "-edit"))
    (children,) = {_verbs(operator, child) for child in _CHILDREN}
    author = (
        f"{_verbs([*view, *edit], 'modeldeployments')}. Status: {_verbs(view, 'modeldeployments/status')}"
    )
    token = "" if PodSpec().automount_service_account_token else "no token of the API server"
    rows: Sequence[tuple[str, str, Sequence[str]]] = (
        ("Person who moves the alias", "a user of MLflow", ("moves the alias", "", "", "", "", "")),
        ("Author of the manifest", "model-operator-edit", ("", author, "", "", "those that the pods mount", "")),
        ("Approver", "model-operator-edit, or a Git review", ("", "sets gates.approval .approved", "", "", "", "")),
        ("Operator", "its ClusterRole", ("reads, may tag versions",
            f"{_verbs(operator, 'modeldeployments')}. Status: {_verbs(operator, 'modeldeployments/status')}",
            children, _verbs(operator, "pods"), _verbs(operator, "secrets") or "get, only those named in the values",
            "serves its own, reads those of pods")),
        ("Fetch container", token, ("downloads one version", "", "", "", "keys of one Secret, by reference", "")),
        ("Serving container", token, ("", "", "", "", "", "serves its own")),
        ("Monitoring", "Prometheus", ("", "", "", "", "", "reads /metrics")),
    )  # fmt: skip
    left, top, width, height = 176, 116, 127, 74
    boxes, words = [], []
    for number, column in enumerate(_COLUMNS):
        words.append(Words(left + number * width + width // 2, 106, column, "column", "middle"))
    for row, (name, role, cells) in enumerate(rows):
        y = top + row * height
        words += [Words(20, y + 26 + 15 * line, part, "name") for line, part in enumerate(wrap(name, 18))]
        below = y + 26 + 15 * len(wrap(name, 18))
        words += [Words(20, below + 14 * line, part) for line, part in enumerate(wrap(role, 24))]
        for number, cell in enumerate(cells):
            look = "none" if not cell else "new" if name == "Operator" else "old"
            box = Box(left + number * width + 3, y + 4, width - 6, height - 8, "", cell or "-", look)
            boxes.append(box)
    words += [
        Words(24, 58, "Rights of the operator and of model-operator-edit: those of the chart with its default values."),
        Words(24, 76, "The chart adds model-operator-edit to the role edit of Kubernetes, which has more rights in its "
              "namespace."),
    ]  # fmt: skip
    return Diagram(
        "Rights of people and parts",
        f"Rights by role. The operator: ModelDeployments {_verbs(operator, 'modeldeployments')}, children {children}, "
        f"pods {_verbs(operator, 'pods')}. The author of the manifest: ModelDeployments {author}. The person who "
        "moves the alias needs no right in the cluster. Pods have no token of the API server by default.",
        top + len(rows) * height + 16,
        boxes=boxes,
        words=words,
    )


def _verbs(rules: Sequence[Mapping[str, Any]], resource: str) -> str:
    """The verbs that rules give on a resource, get with list and watch as read."""
    given = [verb for rule in rules if resource in rule["resources"] for verb in rule["verbs"]]
    shown = ["read"] if set(_READ) <= set(given) else [verb for verb in _READ if verb in given]
    return ", ".join([*shown, *(v for v in given if v not in _READ and v != "deletecollection")])


# --- drawing -----------------------------------------------------------------------------------------------


def _svg(diagram: Diagram) -> Iterator[str]:
    height = diagram.height
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title desc" font-family="-apple-system, \'Segoe UI\', Roboto, '
        "'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif\" font-size=\"13\">"
    )
    yield "  <!-- Generated by `make generate` from hack/generators/diagrams.py: change it there. -->"
    yield f'  <title id="title">{escape(diagram.title)}</title>'
    yield f'  <desc id="desc">{escape(diagram.description)}</desc>'
    yield f"  <style>\n{STYLE}  </style>"
    yield _MARKER
    yield f'  <rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    yield f'  <text class="heading" x="24" y="34">{escape(diagram.title)}</text>'
    for zone in diagram.zones:
        yield _rectangle(zone)
    for arrow in diagram.arrows:
        path = " L".join(f"{x} {y}" for x, y in arrow.points)
        look = "dashed" if arrow.dashed else "line"
        yield f'  <path class="{look}" d="M{path}" marker-end="url(#arrow)"/>'
    for box in diagram.boxes:
        yield _rectangle(box)
        yield from _box_text(box)
    for words in diagram.words:
        anchor = "" if words.anchor == "start" else f' text-anchor="{words.anchor}"'
        yield f'  <text class="{words.look}" x="{words.x}" y="{words.y}"{anchor}>{escape(words.text)}</text>'
    yield "</svg>"


def _rectangle(box: Box) -> str:
    return (
        f'  <rect class="{box.look}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" '
        'stroke-width="1.3"/>'
    )


def wrap_text(box: Box) -> list[tuple[str, str]]:
    """Returns the lines in a box, each with its look: the name, then the text."""
    room = max(4, int((box.width - 10) / _CHARACTER))
    lines = [("name", box.name)] if box.name else []
    return [*lines, *(("small", line) for line in wrap(box.text, room, break_long_words=False))]


def _box_text(box: Box) -> Iterator[str]:
    lines = wrap_text(box)
    for number, (look, line) in enumerate(lines):
        y = box.y + box.height / 2 + 4.5 + (number - (len(lines) - 1) / 2) * LINE_HEIGHT
        x = box.x + box.width / 2
        yield f'  <text class="{look}" x="{x:g}" y="{y:g}" text-anchor="middle">{escape(line)}</text>'
