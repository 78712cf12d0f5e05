"""Which of several replicas works: the one that holds a Lease and keeps renewing it.

Our own, since kopf's peering swaps nothing atomically and the Kubernetes client's election waits for ever on a
server that hangs. What to do next is decided by a pure function; the rest carries it out. Two clocks are never
compared: a holder counts as gone when *we* have seen its Lease unchanged for as long as the Lease promises.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from model_operator.domain.objects import Kind, Lease, Object, ObjectRef, read_lease
from model_operator.kube import (
    API_VERSIONS,
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    KubeClient,
    NotFound,
)
from model_operator.settings import MAX_LEASE_SECONDS, LeaderElection

log = logging.getLogger(__name__)

POD_VARIABLE = "MODEL_OPERATOR_POD_UID"
_LOOK_AGAIN_SECONDS = 0.05
"""After the very moment at which a Lease runs out."""
_COMPLAIN_SECONDS = 60.0


class LeadershipLost(Exception):  # noqa: N818 - what happened; only a new start helps
    """Another replica leads, or may lead by now: this process must not write any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease as it was last read."""

    lease: Lease | None
    """None: there is none."""
    since: float
    """Since when, by our own clock, all that its holder writes has been seen unchanged."""

    @property
    def holder(self) -> str:
        """Who holds it; empty when nobody does."""
        return self.lease.holder if self.lease else ""

    @property
    def transitions(self) -> int:
        """How often it changed hands."""
        return self.lease.transitions if self.lease else 0

    @property
    def resource_version(self) -> str:
        """What a write is bound to; empty when there is no Lease."""
        return self.lease.resource_version if self.lease else ""

    def runs_out(self, terms: LeaderElection) -> float:
        """When its holder counts as gone; what the holder itself promised counts, up to what is allowed."""
        promised = self.lease.duration_seconds if self.lease else 0
        return self.since + min(promised or terms.lease_seconds, MAX_LEASE_SECONDS)


class Step(Enum):
    """What to do with the Lease next."""

    CREATE = auto()
    TAKE = auto()
    RENEW = auto()
    WAIT = auto()
    LOST = auto()


def observe_lease(before: Seen | None, raw: Object | None, now: float) -> Seen:
    """What is known after reading a Lease (None: there is none) at ``now``; only a changed spec is a sign of life."""
    lease = None if raw is None else read_lease(raw)
    if before is not None and _spec_of(before.lease) == _spec_of(lease):
        return replace(before, lease=lease)
    return Seen(lease, now)


def _spec_of(lease: Lease | None) -> Object | None:
    return lease.spec if lease else None


def decide(seen: Seen, me: str, renewed: float | None, now: float, terms: LeaderElection) -> Step:
    """The next step of ``me``.

    ``renewed`` is when the last renewal that went well was sent, None for a replica that does not lead; it and
    ``now`` are readings of one monotonic clock, in seconds.
    """
    if renewed is not None and (now >= renewed + terms.renew_seconds or seen.holder != me):
        return Step.LOST
    if seen.holder == me:
        return Step.RENEW
    if seen.lease is None:
        return Step.CREATE
    if not seen.holder or now >= seen.runs_out(terms):
        return Step.TAKE
    return Step.WAIT


def identity() -> str:
    """A name for this process that no other running one has.

    A container that is started again in its pod is the same candidate, since the one before it is dead for sure:
    it goes on at once. Outside a pod each process has a name of its own.
    """
    return f"{socket.gethostname()}_{os.environ.get(POD_VARIABLE) or secrets.token_hex(4)}"


def steady_clock() -> float:
    """Monotonic seconds that go on while the machine is suspended, where the platform has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Election:
    """One candidate. ``run`` competes and holds; ``leads`` may be asked at any time."""

    def __init__(
        self,
        kube: KubeClient,
        where: ObjectRef,
        me: str,
        terms: LeaderElection,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        """``kube`` serves nothing else and tries nothing again, so that no other call keeps a renewal waiting."""
        self._kube = kube
        self._where = where
        self._me = me
        self._terms = terms
        # two must fit before a holder has to give up
        self._call_seconds = terms.renew_seconds / 2
        self._clock = clock
        self._seen: Seen | None = None
        self._must_look = True
        self._renewed: float | None = None
        self._trouble = ""
        self._complained = float("-inf")
        self.elected = asyncio.Event()
        """Set when this process has begun to lead."""

    @property
    def leads(self) -> bool:
        """Whether this process may write at this moment."""
        return self._renewed is not None and self._clock() < self._renewed + self._terms.renew_seconds

    @property
    def leader(self) -> str:
        """Who holds the Lease as far as is known; empty when nobody does."""
        return self._seen.holder if self._seen else ""

    @property
    def transitions(self) -> int:
        """How often the Lease changed hands."""
        return self._seen.transitions if self._seen else 0

    @property
    def trouble(self) -> str:
        """Why the Lease can't be read or written at present; empty when it can."""
        return self._trouble

    async def run(self) -> None:
        """Compete until elected, then hold on. Raises LeadershipLost; nothing else ends it."""
        while True:
            await self._advance()
            await asyncio.sleep(self._pause())

    async def release(self) -> None:
        """Lead no longer, and let the next one begin at once. Errors only cost the others the wait."""
        if not self.leads or self._seen is None:
            return
        self._renewed = None
        try:
            async with asyncio.timeout(self._call_seconds):
                try:
                    await self._let_go(self._seen)
                except Conflict:
                    # a renewal that was cut off on its way may have arrived
                    if (seen := await self._look()).holder != self._me:
                        raise
                    await self._let_go(seen)
            log.info("released the %s", self._where)
        except (ApiError, TimeoutError) as error:
            log.warning("the %s was not released; it runs out by itself: %s", self._where, error or "timeout")

    async def _let_go(self, seen: Seen) -> None:
        spec = {"holderIdentity": None, "renewTime": _now(), "leaseDurationSeconds": 1}
        await self._kube.merge_patch(self._where, {"spec": spec}, resource_version=seen.resource_version)

    async def _advance(self) -> None:
        try:
            async with asyncio.timeout(self._patience()):
                await self._step()
        except (Conflict, NotFound, AlreadyExists):
            self._must_look = True  # somebody was faster
        except (ApiError, TimeoutError) as error:
            self._must_look = True  # whether it was done is not known
            self._complain(error)
        else:
            self._trouble = ""
        self._give_up_if_late()

    def _patience(self) -> float:
        """Seconds for the next step: never past the moment at which a holder has to give up."""
        if self._renewed is None:
            return self._call_seconds
        left = self._renewed + self._terms.renew_seconds - self._clock()
        return max(0.0, min(self._call_seconds, left))

    async def _step(self) -> None:
        seen = await self._look() if self._must_look or self._seen is None else self._seen
        sent = self._clock()
        match decide(seen, self._me, self._renewed, sent, self._terms):
            case Step.LOST:
                self._lose(f"{seen.holder or 'nobody'} holds the {self._where}")
            case Step.WAIT:
                self._must_look = True
            case Step.CREATE:
                self._note_renewal(await self._create(), sent)
            case Step.TAKE:
                self._note_renewal(await self._write(seen, {"acquireTime": _now()}, 1), sent)
            case Step.RENEW:
                self._note_renewal(await self._write(seen, {}, 0), sent)

    async def _look(self) -> Seen:
        try:
            lease: Object | None = await self._kube.get(self._where)
        except NotFound:
            lease = None
        # the time after the answer: a holder must not count as gone too early
        self._seen = observe_lease(self._seen, lease, self._clock())
        self._must_look = False
        return self._seen

    async def _create(self) -> Object:
        body = {
            "apiVersion": API_VERSIONS[Kind.LEASE],
            "kind": str(Kind.LEASE),
            "metadata": {"name": self._where.name, "namespace": self._where.namespace},
            "spec": self._spec({"acquireTime": _now(), "leaseTransitions": 0}),
        }
        return await self._kube.create(self._where, body)

    async def _write(self, seen: Seen, more: dict[str, Any], changes: int) -> Object:
        spec = self._spec(more | {"leaseTransitions": seen.transitions + changes})
        return await self._kube.merge_patch(
            self._where, {"spec": spec}, resource_version=seen.resource_version
        )

    def _spec(self, more: dict[str, Any]) -> dict[str, Any]:
        # the times are for people; nobody here reads them back
        return {
            "holderIdentity": self._me,
            "leaseDurationSeconds": self._terms.lease_seconds,
            "renewTime": _now(),
            **more,
        }

    def _note_renewal(self, lease: Object, sent: float) -> None:
        """``sent`` is from before the request: others count from when the server had it, which is later."""
        self._seen = observe_lease(self._seen, lease, self._clock())
        self._renewed = sent
        self._must_look = False
        if not self.elected.is_set():
            log.info("%s leads from now on, by the %s", self._me, self._where)
            self.elected.set()

    def _give_up_if_late(self) -> None:
        if self._renewed is not None and not self.leads:
            self._lose(f"the {self._where} could not be renewed for {self._terms.renew_seconds:g} s")

    def _lose(self, why: str) -> None:
        self._renewed = None
        raise LeadershipLost(why)

    def _pause(self) -> float:
        pause = self._terms.retry_seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        if self._renewed is not None:
            if self._must_look and not self._trouble:
                return _LOOK_AGAIN_SECONDS  # somebody else wrote: see at once who leads
            return min(pause, self._patience())
        if self._seen is not None and self._seen.holder and not self._trouble:
            left = self._seen.runs_out(self._terms) - self._clock() + _LOOK_AGAIN_SECONDS
            # once it has run out and was not to be had, no faster than usual
            return min(pause, left) if left > 0 else pause
        return pause

    def _complain(self, error: BaseException) -> None:
        remedy = ""
        if isinstance(error, Forbidden):
            remedy = "; the operator's service account needs get, create and patch on it"
        self._trouble = f"the {self._where}: {error or 'no answer in time'}{remedy}"
        if self._clock() - self._complained >= _COMPLAIN_SECONDS:
            self._complained = self._clock()
            log.warning("%s", self._trouble)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
