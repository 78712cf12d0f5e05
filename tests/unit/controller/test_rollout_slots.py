"""Slots: no more rollouts at once than allowed, and who has waited longest comes next."""

from __future__ import annotations

import pytest

from model_operator.controller.rollout_slots import Slots

A, B, C, D = (("crm", name) for name in "abcd")


class Called(list[tuple[str, str]]):
    """The keys that were called, in order."""


@pytest.fixture
def called() -> Called:
    return Called()


def test_one_more_than_allowed_may_not_start(called: Called) -> None:
    slots = Slots(1, called.append)
    slots.note(A, in_flight=True)
    assert slots.free_for(A)
    assert not slots.free_for(B)


def test_who_waits_is_called_when_a_slot_comes_free_in_the_order_of_waiting(called: Called) -> None:
    slots = Slots(1, called.append)
    slots.note(A, in_flight=True)
    slots.note(C, in_flight=False, waits=True)
    slots.note(B, in_flight=False, waits=True)
    assert called == []
    slots.note(A, in_flight=False)
    assert called == [C]
    slots.note(C, in_flight=True)
    slots.note(C, in_flight=False)
    assert called == [C, B]


def test_as_many_are_called_as_there_are_free_slots(called: Called) -> None:
    slots = Slots(2, called.append)
    slots.note(A, in_flight=True)
    slots.note(B, in_flight=True)
    slots.note(C, in_flight=False, waits=True)
    slots.note(D, in_flight=False, waits=True)
    slots.note(A, in_flight=False)
    slots.note(C, in_flight=True)
    slots.note(B, in_flight=False)
    assert called == [C, D]


def test_who_is_called_and_wants_no_slot_any_more_lets_the_next_one_go(called: Called) -> None:
    slots = Slots(1, called.append)
    slots.note(A, in_flight=True)
    slots.note(B, in_flight=False, waits=True)
    slots.note(C, in_flight=False, waits=True)
    slots.note(A, in_flight=False)
    slots.note(B, in_flight=False)
    assert called == [B, C]


def test_who_looks_again_and_still_waits_keeps_its_place_and_is_not_called_for_it(called: Called) -> None:
    slots = Slots(1, called.append)
    slots.note(A, in_flight=True)
    slots.note(B, in_flight=False, waits=True)
    slots.note(C, in_flight=False, waits=True)
    slots.note(B, in_flight=False, waits=True)
    slots.note(A, in_flight=False)
    assert called == [B]
