"""Requests and answers between the server's processes: a part of serve.py.

A message is a kind of one byte, a head of JSON and a body of bytes. A worker gets one REQUEST at a time on a socket and
sends back one ANSWER, or a STREAM with its chunks and an END. It answers a BATCH of requests with one ANSWER, too.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PREDICTION_PATH = "/invocations"

REQUEST, BATCH, ANSWER = b"R", b"B", b"A"
STREAM, CHUNK, END = b"S", b"C", b"E"
# on a worker's control socket, and its answer
PING = b"ping"
PREFIX = struct.Struct("!cIQ")
# beyond that, a copy of the body costs more than a second write
JOINED_BYTES = 64 * 1024


@dataclass(frozen=True)
class Request:
    """One whole HTTP request. The names of ``headers`` are in lower case, and ``path`` has no query."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One whole HTTP answer. ``headers`` come in addition to the content type and the length."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Frame:
    """One message on a socket between two processes of the server."""

    kind: bytes
    head: Any
    body: bytes = b""

    def parts(self) -> list[bytes]:
        """The bytes to send, a large body by itself."""
        head = json.dumps(self.head).encode()
        start = PREFIX.pack(self.kind, len(head), len(self.body)) + head
        return [start + self.body] if len(self.body) <= JOINED_BYTES else [start, self.body]


def request_frame(request: Request) -> Frame:
    """The frame of a request."""
    return Frame(REQUEST, [request.method, request.path, dict(request.headers)], request.body)


def read_request(frame: Frame) -> Request:
    """The request in a frame."""
    method, path, headers = frame.head
    return Request(method, path, frame.body, headers)


def answer_frame(answer: Answer, seconds: float, cpu_seconds: float) -> Frame:
    """The frame of an answer that took the worker so many seconds, and its thread so many of CPU time."""
    head = [answer.status, answer.content_type, answer.headers, seconds, cpu_seconds]
    return Frame(ANSWER, head, answer.body)


def read_answer(frame: Frame) -> Answer:
    """The answer in a frame."""
    status, content_type, headers, _, _ = frame.head
    return Answer(status, content_type, frame.body, tuple((name, value) for name, value in headers))


def batch_frame(requests: Sequence[Request]) -> Frame:
    """The frame of several requests to the same path."""
    path = requests[0].path
    head = [path, [[request.headers.get("content-type", ""), len(request.body)] for request in requests]]
    return Frame(BATCH, head, b"".join(request.body for request in requests))


def read_batch(frame: Frame) -> list[Request]:
    """The requests in the frame of a batch."""
    path, parts = frame.head
    requests, start = [], 0
    for content_type, size in parts:
        body = frame.body[start : start + size]
        requests.append(Request("POST", path, body, {"content-type": content_type}))
        start += size
    return requests


def answers_frame(answers: Sequence[Answer], seconds: float, cpu_seconds: float) -> Frame:
    """The frame of the answers to a batch, in its order."""
    parts = [[answer.status, answer.content_type, answer.headers, len(answer.body)] for answer in answers]
    return Frame(ANSWER, [parts, seconds, cpu_seconds], b"".join(answer.body for answer in answers))


def read_answers(frame: Frame) -> list[Answer]:
    """The answers in the frame of those to a batch."""
    answers, start = [], 0
    for status, content_type, headers, size in frame.head[0]:
        named = tuple((name, value) for name, value in headers)
        answers.append(Answer(status, content_type, frame.body[start : start + size], named))
        start += size
    return answers


def stream_frame(content_type: str, headers: tuple[tuple[str, str], ...]) -> Frame:
    """The frame before the chunks of a stream."""
    return Frame(STREAM, [content_type, headers])


def end_frame(failure: str, tokens: int, seconds: float, cpu_seconds: float) -> Frame:
    """The frame after the chunks of a stream: the code of its error or nothing, and how many tokens it had."""
    return Frame(END, [failure, tokens, seconds, cpu_seconds])


class Wire:
    """One end of a connected socket, read and written by a thread that waits."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._reader = connected.makefile("rb")

    def read(self) -> Frame | None:
        """The next frame, or None when the other end is closed."""
        prefix = self._reader.read(PREFIX.size)
        if len(prefix) < PREFIX.size:
            return None
        kind, head, body = PREFIX.unpack(prefix)
        rest = self._reader.read(head + body)
        if len(rest) < head + body:
            return None
        return Frame(kind, json.loads(rest[:head].decode()), rest[head:])

    def write(self, frame: Frame) -> None:
        """Sends a frame. Raises OSError when the other end is closed."""
        for part in frame.parts():
            self._socket.sendall(part)

    def close(self) -> None:
        """Closes this end."""
        self._reader.close()
        self._socket.close()


class FrameParser:
    """Puts frames together from pieces as they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that the piece completes."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= PREFIX.size:
            kind, head, body = PREFIX.unpack_from(self._buffer)
            start, end = PREFIX.size + head, PREFIX.size + head + body
            if len(self._buffer) < end:
                break
            text = self._buffer[PREFIX.size : start].decode()
            frames.append(Frame(kind, json.loads(text), bytes(self._buffer[start:end])))
            del self._buffer[:end]
        return frames
