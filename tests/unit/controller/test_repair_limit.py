"""How often one object is repaired."""

from model_operator.controller.repair_limit import REPAIRS, WINDOW_SECONDS, RepairLimit
from model_operator.domain.objects import Kind, ObjectRef

SERVICE = ObjectRef(Kind.SERVICE, "crm", "churn")
OTHER = ObjectRef(Kind.SERVICE, "crm", "other")
WISH = {"spec": {"ports": [{"port": 80}]}}


def repaired_often(limit: RepairLimit) -> None:
    for _ in range(REPAIRS):
        assert limit.may_repair(SERVICE, WISH)
        limit.repaired(SERVICE, WISH)


def test_a_few_repairs_are_free_and_then_the_next_waits_for_the_window_to_pass() -> None:
    now = 0.0
    limit = RepairLimit(lambda: now)
    repaired_often(limit)
    assert not limit.may_repair(SERVICE, WISH)
    assert limit.may_repair(OTHER, WISH)
    now = WINDOW_SECONDS
    assert limit.may_repair(SERVICE, WISH)


def test_a_changed_body_is_no_repair() -> None:
    limit = RepairLimit(lambda: 0.0)
    for port in range(2 * REPAIRS):
        body = {"spec": {"ports": [{"port": port}]}}
        assert limit.may_repair(SERVICE, body)
        limit.repaired(SERVICE, body)


def test_what_was_tried_and_not_done_does_not_count() -> None:
    limit = RepairLimit(lambda: 0.0)
    assert all(limit.may_repair(SERVICE, WISH) for _ in range(2 * REPAIRS))


def test_a_repair_that_had_to_wait_does_not_prolong_the_wait() -> None:
    now = 0.0
    limit = RepairLimit(lambda: now)
    repaired_often(limit)
    for second in range(int(WINDOW_SECONDS)):
        now = float(second)
        assert not limit.may_repair(SERVICE, WISH)
    now = WINDOW_SECONDS
    assert limit.may_repair(SERVICE, WISH)


def test_a_model_deployment_that_is_gone_leaves_nothing_behind() -> None:
    limit = RepairLimit(lambda: 0.0)
    repaired_often(limit)
    limit.forget("crm", "churn")
    assert limit.may_repair(SERVICE, WISH)
