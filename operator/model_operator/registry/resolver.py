"""The resolutions of all ModelDeployments, from all registries."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from model_operator.api.names import RESERVED_KEY_PREFIX
from model_operator.api.reference import ModelReference
from model_operator.domain.objects import Key
from model_operator.domain.registry import Resolution, ResolutionReason
from model_operator.registry.clients.base import shorten
from model_operator.registry.ids import Clients, RegistryId, WantedModel
from model_operator.registry.poller import Pace, Poller


class Resolver:
    """Keeps the reference of each ModelDeployment, and the registry's current answer.

    A reference of several keys is polled once. All methods except ``run`` return at once. Call them in the event loop
    of ``run``.
    """

    def __init__(
        self,
        clients: Clients,
        poll_seconds: float,
        on_change: Callable[[Key], None],
        clock: Callable[[], float] = time.monotonic,
        quiet_tags: str = RESERVED_KEY_PREFIX,
    ) -> None:
        """``clients`` has the clients of the configuration's entries and of registries in specs.
        ``poll_seconds`` is the time between two polls.

        ``on_change`` is called for a key when its answer changes. It is not called twice for one answer, and not for
        an answer that exists when ``want`` returns. A change of a tag whose key begins with ``quiet_tags`` does not
        count.
        """
        self._on_change = on_change
        self._clients = clients
        self._pace = Pace(poll_seconds)
        self._clock = clock
        self._quiet_tags = quiet_tags
        self._wants: dict[Key, WantedModel] = {}
        self._followers: dict[WantedModel, set[Key]] = {}
        self._closely: set[Key] = set()
        self._entries = sorted(clients.entries())
        self._pollers: dict[RegistryId, Poller] = {}
        self._inline: Counter[RegistryId] = Counter()
        """The number of followed references in each registry that a spec describes."""
        self._tasks: dict[RegistryId, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        for entry in self._entries:
            self._poll(RegistryId(entry))

    def want(self, key: Key, wanted: WantedModel | None) -> None:
        """Let ``key`` follow ``wanted``, or nothing (None). Idempotent."""
        before = self._wants.get(key)
        if before == wanted:
            return
        if wanted is not None:
            self._wants[key] = wanted
            if wanted not in self._followers:
                self._followers[wanted] = set()
                self._enter(wanted.registry)
            self._followers[wanted].add(key)
            if (poller := self._pollers.get(wanted.registry)) is not None:
                poller.add(wanted.reference)
            self._look_closely(wanted)
        else:
            del self._wants[key]
            self._closely.discard(key)
        if before is not None:
            self._leave(key, before)

    def answer(self, key: Key) -> Resolution:
        """The current answer for the reference of ``key``. Pending before the first answer.

        If the registry stops answering, the reason is that failure, and ``version`` is the last good one.
        """
        wanted = self._wants.get(key)
        if wanted is None:
            return Resolution(ResolutionReason.PENDING, "nothing is followed yet")
        poller = self._pollers.get(wanted.registry)
        if poller is None:
            return Resolution(ResolutionReason.UNKNOWN_REGISTRY, self._unknown(wanted.registry))
        answer = poller.answer(wanted.reference)
        if answer is None:
            return Resolution(ResolutionReason.PENDING, f"{poller.url} was not polled yet", poller.url)
        return answer

    def refresh(self, key: Key) -> None:
        """Poll the reference of ``key`` again soon, without the cache."""
        wanted = self._wants.get(key)
        if wanted is not None and (poller := self._pollers.get(wanted.registry)) is not None:
            poller.refresh(wanted.reference)

    def watch_closely(self, key: Key, closely: bool) -> None:
        """Set whether each poll reads the tags of the version that ``key`` follows, or only some polls do, as usual."""
        if closely == (key in self._closely):
            return
        (self._closely.add if closely else self._closely.discard)(key)
        if (wanted := self._wants.get(key)) is not None:
            self._look_closely(wanted)

    def _look_closely(self, wanted: WantedModel) -> None:
        if (poller := self._pollers.get(wanted.registry)) is not None:
            closely = not self._closely.isdisjoint(self._followers.get(wanted, ()))
            poller.watch_closely(wanted.reference, closely)

    def hint(self, entry: str, model: str) -> int:
        """Poll a model again soon, after a hint that it may have changed in that registry.

        The hint itself is not trusted. Returns the number of affected references.
        """
        poller = self._pollers.get(RegistryId(entry))
        return poller.hint(model) if poller is not None else 0

    async def run(self) -> None:
        """Poll all registries until cancelled. A failing registry does not delay the others."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for registry in self._pollers:
                self._run(registry, group)
            # specs may add registries while this runs
            await asyncio.Event().wait()

    def _poll(self, registry: RegistryId) -> None:
        """Create a poller for that registry, if the configuration allows it."""
        if (client := self._clients.open(registry)) is None:
            return
        announce = self._announcer(registry)
        self._pollers[registry] = Poller(client, announce, self._pace, self._clock, self._quiet_tags)
        if self._group is not None:
            self._run(registry, self._group)

    def _run(self, registry: RegistryId, group: asyncio.TaskGroup) -> None:
        self._tasks[registry] = group.create_task(self._pollers[registry].run())

    def _enter(self, registry: RegistryId) -> None:
        if registry.entry:
            return
        self._inline[registry] += 1
        if self._inline[registry] == 1:
            self._poll(registry)

    def _exit(self, registry: RegistryId) -> None:
        """Stop the poller of a registry in specs with its last follower, which closes the client."""
        if registry.entry:
            return
        self._inline[registry] -= 1
        if not self._inline[registry]:
            del self._inline[registry]
            self._pollers.pop(registry, None)
            self._clients.release(registry)
            if (task := self._tasks.pop(registry, None)) is not None:
                task.cancel()

    def _unknown(self, registry: RegistryId) -> str:
        known = ", ".join(self._entries) or "none"
        if registry.entry:
            return (
                f"registry '{shorten(registry.entry)}' is not configured in the operator, which has: {known}"
            )
        return (
            f"spec.registry.url: {shorten(registry.url)} is not one of inlineRegistries.allowedUrls in the operator's "
            f"configuration. Request it there, or name a configured registry: {known}"
        )

    def _leave(self, key: Key, wanted: WantedModel) -> None:
        followers = self._followers[wanted]
        followers.discard(key)
        if followers:
            self._look_closely(wanted)
            return
        del self._followers[wanted]
        if (poller := self._pollers.get(wanted.registry)) is not None:
            poller.discard(wanted.reference)
        self._exit(wanted.registry)

    def _announcer(self, registry: RegistryId) -> Callable[[ModelReference], None]:
        def announce(reference: ModelReference) -> None:
            for key in sorted(self._followers.get(WantedModel(registry, reference), ())):
                self._on_change(key)

        return announce
