"""The answers of all registries, by the ModelDeployment that wants them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from model_operator.api.names import RESERVED_KEY_PREFIX
from model_operator.api.reference import ModelReference
from model_operator.registry.client import Connect, RegistryConfig, WantedModel, shown
from model_operator.registry.kinds import connect as connect_registry
from model_operator.registry.poller import Pace, Poller
from model_operator.world import Key, Resolution, ResolutionReason


class Resolver:
    """Knows what each ModelDeployment follows, and the registry's present answer for it.

    References that several keys want are asked for once. All methods but ``run`` return at once, and belong
    into the event loop that runs ``run``.
    """

    def __init__(
        self,
        registries: Mapping[str, RegistryConfig],
        poll_seconds: float,
        on_change: Callable[[Key], None],
        clock: Callable[[], float] = time.monotonic,
        connect: Connect = connect_registry,
        quiet_tags: str = RESERVED_KEY_PREFIX,
    ) -> None:
        """``registries`` are the entries of the configuration, ``poll_seconds`` the time between two polls.

        ``on_change`` is called for a key whose answer became another one; never twice for the same answer,
        and not for an answer that is there by the time that ``want`` returns. A tag whose key begins with
        ``quiet_tags`` makes no difference.
        """
        self._on_change = on_change
        self._wants: dict[Key, WantedModel] = {}
        self._followers: dict[WantedModel, set[Key]] = {}
        self._closely: set[Key] = set()
        self._pollers: dict[str, Poller] = {}
        for entry, config in registries.items():
            pace = Pace(poll_seconds)
            client = connect(entry, config)
            self._pollers[entry] = Poller(client, self._announcer(entry), pace, clock, quiet_tags)

    def want(self, key: Key, wanted: WantedModel | None) -> None:
        """Let ``key`` follow ``wanted`` from now on, or nothing (None). Saying it again changes nothing."""
        before = self._wants.get(key)
        if before == wanted:
            return
        if wanted is not None:
            self._wants[key] = wanted
            self._followers.setdefault(wanted, set()).add(key)
            if (poller := self._pollers.get(wanted.registry)) is not None:
                poller.add(wanted.reference)
            self._look_closely(wanted)
        else:
            del self._wants[key]
            self._closely.discard(key)
        if before is not None:
            self._leave(key, before)

    def answer(self, key: Key) -> Resolution:
        """The present answer for what ``key`` follows; Pending before the first one.

        Where the registry can't be asked any more, the reason says so and ``version`` is the last good one.
        """
        wanted = self._wants.get(key)
        if wanted is None:
            return Resolution(ResolutionReason.PENDING, "nothing is followed yet")
        poller = self._pollers.get(wanted.registry)
        if poller is None:
            known = ", ".join(sorted(self._pollers)) or "none"
            return Resolution(
                ResolutionReason.UNKNOWN_REGISTRY,
                f"registry '{shown(wanted.registry)}' is not configured in the operator; there is: {known}",
            )
        answer = poller.answer(wanted.reference)
        if answer is None:
            return Resolution(ResolutionReason.PENDING, f"{poller.url} was not asked yet", poller.url)
        return answer

    def refresh(self, key: Key) -> None:
        """Ask for what ``key`` follows again, soon and not from memory."""
        wanted = self._wants.get(key)
        if wanted is not None and (poller := self._pollers.get(wanted.registry)) is not None:
            poller.refresh(wanted.reference)

    def watch_closely(self, key: Key, closely: bool) -> None:
        """Let each poll read the details (tags) of what ``key`` follows anew, or only now and then, as usual."""
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
        """Somebody says that this model of that registry may have changed: ask again soon for who follows it.

        Nothing is believed of it. Returns how many references are asked for.
        """
        poller = self._pollers.get(entry)
        return poller.hint(model) if poller is not None else 0

    async def run(self) -> None:
        """Poll all registries until cancelled. A registry that fails does not hold up the others."""
        async with asyncio.TaskGroup() as group:
            for poller in self._pollers.values():
                group.create_task(poller.run())

    def _leave(self, key: Key, wanted: WantedModel) -> None:
        followers = self._followers[wanted]
        followers.discard(key)
        if followers:
            self._look_closely(wanted)
            return
        del self._followers[wanted]
        if (poller := self._pollers.get(wanted.registry)) is not None:
            poller.discard(wanted.reference)

    def _announcer(self, entry: str) -> Callable[[ModelReference], None]:
        def announce(reference: ModelReference) -> None:
            for key in sorted(self._followers.get(WantedModel(entry, reference), ())):
                self._on_change(key)

        return announce
