"""Accepts deliveries that are signed, fresh and new. Its only I/O is reading the secrets' files."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from model_operator.webhooks.mounted_files import Secrets

MAX_REMEMBERED = 10_000
"""Highest number of remembered delivery ids. The oldest is dropped, since a repeated hint does no harm."""

_MAX_SIGNATURES = 8
_MAX_NAME_LENGTH = 1000


class RefusalError(Exception):
    """The delivery is rejected. ``outcome`` is for the metric, the message is for the sender."""

    def __init__(self, status: HTTPStatus, outcome: str, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request, before any check."""

    delivery_id: str
    timestamp: str
    """Seconds since 1970."""
    signatures: str
    """``v1,BASE64``, several of them separated by spaces."""
    body: bytes


class Inbox:
    """Accepts or rejects deliveries, and remembers the ids of the accepted ones."""

    def __init__(
        self, secret_dir: Path, max_age_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Every file of ``secret_dir`` is a valid secret. ``clock`` returns seconds since 1970."""
        self._secrets = Secrets(secret_dir, clock)
        self._max_age = max_age_seconds
        self._clock = clock
        # in the order of arrival
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        """The number of remembered delivery ids."""
        return len(self._seen)

    def model(self, delivery: Delivery) -> str:
        """Returns the name of the model in an accepted delivery. Raises RefusalError.

        The body is parsed only after the checks of signature, age and id.
        """
        self._check_signature(delivery)
        self._check_age_and_id(delivery)
        return model_named_in(delivery.body)

    def _check_signature(self, delivery: Delivery) -> None:
        secrets = self._secrets.read()
        if not secrets:
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE, "no_secret", "the receiver has no secret for the check yet"
            )
        signed = f"{delivery.delivery_id}.{delivery.timestamp}.".encode() + delivery.body
        valid = [hmac.digest(secret, signed, hashlib.sha256) for secret in secrets]
        good = False
        for given in _signatures(delivery.signatures):
            for digest in valid:
                # no early exit: the duration must not depend on which secret matches
                good |= hmac.compare_digest(given, digest)
        if not good:
            raise RefusalError(
                HTTPStatus.UNAUTHORIZED,
                "signature",
                "the signature does not match any secret of the receiver",
            )

    def _check_age_and_id(self, delivery: Delivery) -> None:
        now, sent = self._clock(), float(delivery.timestamp)
        if abs(now - sent) > self._max_age:
            words = f"the timestamp differs from the receiver's clock by more than {self._max_age:.0f} s"
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "timestamp", words)
        self._forget(now)
        if delivery.delivery_id in self._seen:
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "replay", "this delivery id was used before")
        # after that time, its timestamp is too old anyway
        self._seen[delivery.delivery_id] = sent + self._max_age

    def _forget(self, now: float) -> None:
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] >= now and len(self._seen) < MAX_REMEMBERED:
                break
            del self._seen[oldest]


def model_named_in(body: bytes) -> str:
    """Returns the name of the model in a payload. Ignores entity and action. Raises RefusalError."""
    try:
        payload = json.loads(body.decode())
    except UnicodeDecodeError:
        raise _malformed("the body is not UTF-8") from None
    except (ValueError, RecursionError):
        raise _malformed("the body is not valid JSON") from None
    data = payload.get("data") if isinstance(payload, dict) else None
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_LENGTH:
        raise _malformed("the body has no model name in data.name")
    return name


def _malformed(words: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, "malformed", words)


def _signatures(header: str) -> Iterator[bytes]:
    for part in header.split(" ")[:_MAX_SIGNATURES]:
        version, _, encoded = part.partition(",")
        if version != "v1":
            continue
        try:
            yield base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
