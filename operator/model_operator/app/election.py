"""Leader election: the replica that holds a Lease and renews it is the leader.

This is our own implementation. kopf's peering has no atomic swap, and the election of the Kubernetes client has no
timeout for a server that hangs. The pure function ``decide`` chooses the next step, and ``Election`` carries it out. It
never compares two clocks: a holder counts as gone if *we* have seen its Lease unchanged for the duration in the Lease.
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
"""Delay after the moment at which a Lease expires."""
_COMPLAIN_SECONDS = 60.0


class LeadershipLost(Exception):  # noqa: N818 - names the event, and only a restart helps
    """Another replica leads or may lead by now. This process must not write any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The last state of a Lease."""

    lease: Lease | None
    """None: it does not exist."""
    since: float
    """When its present spec was first seen, in seconds of our own clock."""

    @property
    def holder(self) -> str:
        """Its holder. Empty if there is none."""
        return self.lease.holder if self.lease else ""

    @property
    def transitions(self) -> int:
        """How often its holder changed."""
        return self.lease.transitions if self.lease else 0

    @property
    def resource_version(self) -> str:
        """The resourceVersion, as the precondition of a write. Empty if there is no Lease."""
        return self.lease.resource_version if self.lease else ""

    def runs_out(self, terms: LeaderElection) -> float:
        """Returns the time at which its holder counts as gone.

        The duration is the one in the Lease, at most MAX_LEASE_SECONDS.
        """
        promised = self.lease.duration_seconds if self.lease else 0
        return self.since + min(promised or terms.lease_seconds, MAX_LEASE_SECONDS)


class Step(Enum):
    """The next step with the Lease."""

    CREATE = auto()
    TAKE = auto()
    RENEW = auto()
    WAIT = auto()
    LOST = auto()


def observe_lease(before: Seen | None, raw: Object | None, now: float) -> Seen:
    """Returns the state after a read of the Lease (None: it does not exist) at ``now``.

    Only a changed spec counts as a sign of life.
    """
    lease = None if raw is None else read_lease(raw)
    if before is not None and _spec_of(before.lease) == _spec_of(lease):
        return replace(before, lease=lease)
    return Seen(lease, now)


def _spec_of(lease: Lease | None) -> Object | None:
    return lease.spec if lease else None


def decide(seen: Seen, me: str, renewed: float | None, now: float, terms: LeaderElection) -> Step:
    """Returns the next step of ``me``.

    ``renewed`` is the time at which the last successful renewal was sent, or None for a replica that does not lead.
    ``renewed`` and ``now`` are seconds of the same monotonic clock.
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
    """Returns a name that no other running process has.

    A container that is restarted in its pod keeps its name and continues at once, because its predecessor is certainly
    dead. Outside of a pod, each process has its own name.
    """
    return f"{socket.gethostname()}_{os.environ.get(POD_VARIABLE) or secrets.token_hex(4)}"


def steady_clock() -> float:
    """Returns monotonic seconds that include the time of a suspended machine, if the platform has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Election:
    """One replica in the election. ``run`` acquires and renews the Lease, ``leads`` is valid at any time."""

    def __init__(
        self,
        kube: KubeClient,
        where: ObjectRef,
        me: str,
        terms: LeaderElection,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        """``kube`` is used for nothing else and retries nothing. No other call can delay a renewal."""
        self._kube = kube
        self._where = where
        self._me = me
        self._terms = terms
        # two calls must fit before a holder has to give up
        self._call_seconds = terms.renew_seconds / 2
        self._clock = clock
        self._seen: Seen | None = None
        self._must_look = True
        self._renewed: float | None = None
        self._trouble = ""
        self._complained = float("-inf")
        self.elected = asyncio.Event()
        """Set when this process becomes the leader."""

    @property
    def leads(self) -> bool:
        """Whether this process may write at this moment."""
        return self._renewed is not None and self._clock() < self._renewed + self._terms.renew_seconds

    @property
    def leader(self) -> str:
        """The last known holder of the Lease. Empty if there is none."""
        return self._seen.holder if self._seen else ""

    @property
    def transitions(self) -> int:
        """How often the Lease's holder changed."""
        return self._seen.transitions if self._seen else 0

    @property
    def trouble(self) -> str:
        """Why the Lease can't be read or written at present. Empty if it can."""
        return self._trouble

    async def run(self) -> None:
        """Competes for the Lease, then renews it. Ends only with LeadershipLost."""
        while True:
            await self._advance()
            await asyncio.sleep(self._pause())

    async def release(self) -> None:
        """Gives up the Lease. The next leader can then begin at once. After an error, it waits for the expiry."""
        if not self.leads or self._seen is None:
            return
        self._renewed = None
        try:
            async with asyncio.timeout(self._call_seconds):
                try:
                    await self._let_go(self._seen)
                except Conflict:
                    # a renewal that was cancelled may still have arrived
                    if (seen := await self._look()).holder != self._me:
                        raise
                    await self._let_go(seen)
            log.info("released the %s", self._where)
        except (ApiError, TimeoutError) as error:
            log.warning("the %s was not released and will expire: %s", self._where, error or "timeout")

    async def _let_go(self, seen: Seen) -> None:
        spec = {"holderIdentity": None, "renewTime": _now(), "leaseDurationSeconds": 1}
        await self._kube.merge_patch(self._where, {"spec": spec}, resource_version=seen.resource_version)

    async def _advance(self) -> None:
        try:
            async with asyncio.timeout(self._patience()):
                await self._step()
        except (Conflict, NotFound, AlreadyExists):
            self._must_look = True  # another replica was faster
        except (ApiError, TimeoutError) as error:
            self._must_look = True  # the write may have arrived or not
            self._complain(error)
        else:
            self._trouble = ""
        self._give_up_if_late()

    def _patience(self) -> float:
        """Returns the seconds for the next step, which must end before a holder has to give up."""
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
        # the time after the answer, because a holder must not count as gone too early
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
        # the times are for people, and this module never reads them
        return {
            "holderIdentity": self._me,
            "leaseDurationSeconds": self._terms.lease_seconds,
            "renewTime": _now(),
            **more,
        }

    def _note_renewal(self, lease: Object, sent: float) -> None:
        """Records a renewal. ``sent`` is before the request, and the others count from its arrival, which is later."""
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
                return _LOOK_AGAIN_SECONDS  # another replica wrote: read the Lease at once
            return min(pause, self._patience())
        if self._seen is not None and self._seen.holder and not self._trouble:
            left = self._seen.runs_out(self._terms) - self._clock() + _LOOK_AGAIN_SECONDS
            # if it has expired and could not be acquired, the usual pause
            return min(pause, left) if left > 0 else pause
        return pause

    def _complain(self, error: BaseException) -> None:
        remedy = ""
        if isinstance(error, Forbidden):
            remedy = " (the operator's service account needs get, create and patch on it)"
        self._trouble = f"the {self._where}: {error or 'no answer in time'}{remedy}"
        if self._clock() - self._complained >= _COMPLAIN_SECONDS:
            self._complained = self._clock()
            log.warning("%s", self._trouble)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
