"""How often one object is repaired."""

from model_operator.controller.repair_limit import REPAIRS, WINDOW_SECONDS, Contest
from model_operator.domain.objects import Kind, ObjectRef

SERVICE = ObjectRef(Kind.SERVICE, "crm", "churn")
OTHER = ObjectRef(Kind.SERVICE, "crm", "other")
WISH = {"spec": {"ports": [{"port": 80}]}}


def repaired_often(contest: Contest) -> None:
    for _ in range(REPAIRS):
        assert contest.may_repair(SERVICE, WISH)
        contest.repaired(SERVICE, WISH)


def test_a_few_repairs_are_free_and_then_the_next_waits_for_the_window_to_pass() -> None:
    now = 0.0
    contest = Contest(lambda: now)
    repaired_often(contest)
    assert not contest.may_repair(SERVICE, WISH)
    assert contest.may_repair(OTHER, WISH)
    now = WINDOW_SECONDS
    assert contest.may_repair(SERVICE, WISH)


def test_a_changed_wish_is_no_repair() -> None:
    contest = Contest(lambda: 0.0)
    for port in range(2 * REPAIRS):
        wish = {"spec": {"ports": [{"port": port}]}}
        assert contest.may_repair(SERVICE, wish)
        contest.repaired(SERVICE, wish)


def test_what_was_tried_and_not_done_does_not_count() -> None:
    contest = Contest(lambda: 0.0)
    assert all(contest.may_repair(SERVICE, WISH) for _ in range(2 * REPAIRS))


def test_a_repair_that_had_to_wait_does_not_prolong_the_wait() -> None:
    now = 0.0
    contest = Contest(lambda: now)
    repaired_often(contest)
    for second in range(int(WINDOW_SECONDS)):
        now = float(second)
        assert not contest.may_repair(SERVICE, WISH)
    now = WINDOW_SECONDS
    assert contest.may_repair(SERVICE, WISH)


def test_a_model_deployment_that_is_gone_leaves_nothing_behind() -> None:
    contest = Contest(lambda: 0.0)
    repaired_often(contest)
    contest.forget("crm", "churn")
    assert contest.may_repair(SERVICE, WISH)
