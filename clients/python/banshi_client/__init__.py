"""Sends report jobs to banshi over RabbitMQ, and says what became of them.

Takes jobs (a mapping, or JSON as text or bytes). Gives confirmations, typed results and events.
Never drops a job silently: a call that returns was confirmed, any other raises. If we crash here,
a job that was not confirmed may or may not be there: send it again, with the same ``job_id``, which
is harmless; :class:`Outbox` keeps it until then.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import ssl
import threading
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, Callable, Deque, Iterator, Mapping, Optional, Tuple, Union

import pika
from pika import exceptions

__all__ = [
    "Artifact", "BanshiError", "BrokerRefused", "Cancelled", "Client", "Closed", "Companion", "Completed",
    "Event", "Failed", "InvalidJob", "Job", "Lane", "NoSuchLane", "NotConfirmed", "Outbox", "Outcome",
    "Problem", "QueueFull", "Rejected", "TimedOut", "UnknownEvent",
]

log = logging.getLogger("banshi_client")

Job = Union[Mapping[str, Any], str, bytes]
Offset = Union[int, str, datetime]

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Repeats are dropped among so many events.
_REMEMBERED = 100_000
#: How far clocks may differ.
_CLOCKS = timedelta(minutes=5)
#: Seconds between two tries to reach the broker, doubled up to the last.
_PAUSES = (0.1, 5.0)
#: Seconds between two looks at whether the caller has cancelled.
_LOOK = 0.2
#: Seconds that setting up a connection may take.
_SETUP = 10.0


class BanshiError(Exception):
    """Whatever this library raises."""


class InvalidJob(BanshiError):
    """Not a JSON object with a ``job_id``, or its correlation id is too long: nothing was sent."""


class NoSuchLane(BanshiError):
    """No queue takes this lane: it is misspelt, or banshi's queues are not there. Nothing is kept."""


class QueueFull(BanshiError):
    """The broker refused the job, for its lane is full: wait, and send it again."""


class NotConfirmed(BanshiError):
    """No confirmation in time. The job may or may not be there: send it again, as it is."""


class BrokerRefused(BanshiError):
    """The broker says that we may not, or that something is not there, or we do not trust its
    certificate; trying again won't help."""


class TimedOut(BanshiError):
    """The job was confirmed, and what became of it was not known in time."""


class Cancelled(BanshiError):
    """The caller's event was set while we waited. A job that was confirmed is still worked on."""


class Closed(BanshiError):
    """The client was closed before: nothing was sent."""


class UnknownEvent(BanshiError):
    """The log has what this version does not know."""


class Lane(str, Enum):
    """Where a job waits."""

    BULK = "bulk"
    URGENT = "urgent"


@dataclass(frozen=True)
class Problem:
    """What is wrong (docs/problems.md): ``path`` is a JSON Pointer (RFC 6901) into the job."""

    code: str
    path: str
    message: str
    message_zh: str
    expected: Optional[str] = None
    actual: Optional[str] = None

    @classmethod
    def _of(cls, it: Mapping[str, Any]) -> Problem:
        return cls(
            it["code"], it["path"], it["message"], it["message_zh"], it.get("expected"), it.get("actual")
        )


@dataclass(frozen=True)
class Artifact:
    """The PDF that was stored. ``bytes`` is its size; compare ``sha256`` with what you fetch."""

    uri: str
    sha256: str
    bytes: int
    pages: int
    media_type: str
    standard: str


@dataclass(frozen=True)
class Companion:
    """The same report in another format, beside its PDF, where banshi is set to make some."""

    format: str
    uri: str
    media_type: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Event:
    """A CloudEvent of banshi. ``body`` is all of it; ``offset`` is its place in the log."""

    id: str
    source: str
    type: str
    time: str
    job_id: Optional[str]
    offset: int
    body: Mapping[str, Any] = field(repr=False)

    @property
    def outcome(self) -> Outcome:
        """What became of the job; raises :class:`UnknownEvent` where this version can't say."""
        try:
            return self._outcome(self.body["data"])
        except (AttributeError, KeyError, TypeError) as error:
            raise UnknownEvent(f"event {self.id} is no {self.type} of banshi: {error!r}") from error

    def _outcome(self, data: Mapping[str, Any]) -> Outcome:
        if self.type == "report.completed":
            it = data["artifact"]
            artifact = Artifact(
                it["uri"], it["sha256"], it["bytes"], it["pages"], it["media_type"], it["standard"]
            )
            companions = tuple(
                Companion(it["format"], it["uri"], it["media_type"], it["sha256"], it["bytes"])
                for it in data.get("companions", ())
            )
            warnings = tuple(Problem._of(it) for it in data["warnings"])
            return Completed(
                data["job_id"],
                data["template"],
                data["agency"],
                data["year"],
                data["title"],
                artifact,
                companions,
                data["manifest"]["uri"],
                warnings,
                self,
            )
        if self.type == "report.rejected":
            return Rejected(self.job_id, tuple(Problem._of(it) for it in data["problems"]), self)
        if self.type == "report.failed":
            return Failed(self.job_id, data["error"]["code"], data["error"]["message"], data["attempts"], self)
        raise UnknownEvent(f"event {self.id} is a {self.type}, which this version does not know")


@dataclass(frozen=True)
class Completed:
    """The PDF and its manifest are stored."""

    job_id: str
    template: str
    agency: str
    year: int
    title: str
    artifact: Artifact
    companions: Tuple[Companion, ...]
    manifest_uri: str
    warnings: Tuple[Problem, ...]
    event: Event = field(repr=False)


@dataclass(frozen=True)
class Rejected:
    """The job can never succeed as it is. ``job_id`` is ``None`` when it could not be read."""

    job_id: Optional[str]
    problems: Tuple[Problem, ...]
    event: Event = field(repr=False)


@dataclass(frozen=True)
class Failed:
    """The job might have succeeded; ``code`` is the part that failed. It may be sent again."""

    job_id: Optional[str]
    code: str
    message: str
    attempts: int
    event: Event = field(repr=False)


Outcome = Union[Completed, Rejected, Failed]


class Client:
    """A sender and reader, for any number of threads; it connects when it first needs to.

    ``timeout`` is the seconds that a call may take to send and have it confirmed. ``ssl_context``
    says whom to trust behind ``amqps://``, and who we are; without it, the system's authorities are
    trusted. An idle sender is disconnected by the broker after the heartbeats that it missed; the
    next call connects anew.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "banshi",
        timeout: float = 30.0,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        self._parameters = pika.URLParameters(url)
        if ssl_context is not None:
            self._parameters.ssl_options = pika.SSLOptions(ssl_context, self._parameters.host)
        self._prefix = prefix
        self._timeout = timeout
        self._lock = threading.Lock()
        self._sender: Optional[_Sender] = None
        self._closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection. All that was sent is confirmed already. A client that is closed
        connects no more: what needs a connection then raises :class:`Closed`."""
        with self._lock:
            self._closed = True
            self._drop()

    def send(
        self,
        job: Job,
        *,
        lane: Union[Lane, str] = Lane.BULK,
        correlation_id: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
        cancel: Optional[threading.Event] = None,
    ) -> None:
        """Sends a job; it returns once the broker has it safe.

        A connection that is lost before that is made anew and the job is sent again.
        ``correlation_id`` is yours, 255 bytes at most, and comes back on the event. ``headers`` may
        have ``traceparent`` and ``tracestate``. ``cancel`` ends it from another thread: the job may
        or may not be there then.
        """
        body, job_id = _read(job, correlation_id)
        lane = _lane(lane)
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            message_id=job_id,
            correlation_id=correlation_id or None,
            headers=dict(headers) if headers else None,
        )
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        last: Exception = exceptions.AMQPError("no connection was made")
        while not self._lock.acquire(timeout=max(0.0, min(_LOOK, deadline - time.monotonic()))):
            _check(cancel)
            if time.monotonic() >= deadline:
                raise NotConfirmed(f"job {job_id} was not sent: other threads' jobs took all the time")
        try:
            if self._closed:
                raise Closed(f"job {job_id} was not sent: the client is closed")
            for pause in _pauses():
                _check(cancel)
                try:
                    if self._sender is None:
                        self._sender = _Sender(self._parameters, deadline, cancel)
                    self._sender.publish(f"{self._prefix}.jobs", lane, body, properties, deadline, cancel)
                    log.debug("job %s is confirmed in lane %s", job_id, lane.value)
                    return
                except exceptions.AMQPError as error:
                    self._drop()
                    last = error
                    _raise_if_refused(error)
                    log.warning("job %s is not confirmed yet, sending it again: %r", job_id, error)
                except (QueueFull, NoSuchLane):  # the connection is as good as before
                    raise
                except BaseException:  # a confirmation that comes late must not be taken for the next one's
                    self._drop()
                    raise
                if time.monotonic() + pause >= deadline:
                    raise NotConfirmed(f"job {job_id}: no confirmation in time; send it again ({last!r})")
                _rest(pause, cancel)
        finally:
            self._lock.release()

    def send_and_wait(
        self,
        job: Job,
        *,
        lane: Union[Lane, str] = Lane.BULK,
        correlation_id: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = 300.0,
        cancel: Optional[threading.Event] = None,
    ) -> Outcome:
        """Sends a job and waits for its event in the log of events, over lost connections too.

        The event is known by its ``correlation_id``, which must be of this job alone (made here when
        it is not given). ``timeout`` is in seconds and for all of it, ``None`` for ever; ``cancel``
        ends the wait from another thread.
        """
        _, job_id = _read(job, correlation_id)
        correlation_id = correlation_id or str(uuid.uuid4())
        deadline = _deadline(timeout)
        with _Log(self, "last", cancel, heartbeat=10) as events:
            if not events.attach(deadline):  # before the job is there: its event can't be missed
                raise NotConfirmed(f"job {job_id} was not sent: the broker was not reached in time")
            sending = self._timeout if timeout is None else min(self._timeout, timeout)
            self.send(
                job, lane=lane, correlation_id=correlation_id, headers=headers, timeout=sending, cancel=cancel
            )
            found = events.find(job_id, correlation_id, deadline)
        if found is None:
            raise TimedOut(f"job {job_id} is confirmed, and there was no event in {timeout} s")
        return found

    def wait(
        self,
        job_id: str,
        *,
        start: Offset = "first",
        correlation_id: Optional[str] = None,
        timeout: Optional[float] = 300.0,
        cancel: Optional[threading.Event] = None,
    ) -> Outcome:
        """What became of a job that was sent before, by whomever: at once, where it has ended.

        That is the first event of it from ``start`` on (as of :meth:`events`), and, where
        ``correlation_id`` is given, of that sending. What is no event of banshi is passed over, and
        logged.
        """
        with _Log(self, start, cancel, heartbeat=10) as events:
            found = events.find(job_id, correlation_id, _deadline(timeout))
        if found is None:
            raise TimedOut(f"job {job_id}: there was no event in {timeout} s")
        return found

    def events(
        self,
        start: Offset = "next",
        *,
        timeout: Optional[float] = None,
        cancel: Optional[threading.Event] = None,
    ) -> Iterator[Event]:
        """The events of thirty days, from an offset on, over lost connections too; repeats are dropped.

        ``start`` is ``"first"``, ``"last"``, ``"next"`` (only new ones), an offset, a time, or an
        age as ``"1h"``. It ends when there was no event for ``timeout`` seconds, or raises
        :class:`Cancelled`. Keep ``offset + 1`` with what you made of an event, to go on there.
        """
        seen: OrderedDict[Tuple[str, str], None] = OrderedDict()
        with _Log(self, start, cancel) as events:
            while True:
                found = events.next(_deadline(timeout))
                if found is None:
                    return
                event, _ = found
                key = (event.source, event.id)
                if key in seen:
                    continue
                seen[key] = None
                if len(seen) > _REMEMBERED:
                    seen.popitem(last=False)
                yield event

    def _drop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()


class Outbox:
    """Jobs that are to be sent, in a folder, where they survive a crash of the sender.

    A file is a job, ``NUMBER-RANDOM.LANE.json``, sent in the order of the numbers and removed once
    it is confirmed. If we crash in between, it is sent again, which is harmless.
    """

    def __init__(self, folder: Union[str, os.PathLike[str]]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, job: Job, *, lane: Union[Lane, str] = Lane.BULK) -> Path:
        """Keeps a job; when this returns it is on the disk."""
        body, _ = _read(job)
        name = f"{_number():020}-{uuid.uuid4().hex[:8]}.{_lane(lane).value}.json"
        part = self.folder / f".{name}.part"
        try:
            with part.open("xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.folder / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if os.name != "nt":  # which syncs no folders
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self.folder / name

    def waiting(self) -> list[Path]:
        """The jobs that are kept, the first first."""
        return sorted(path for path in self.folder.glob("*.json") if not path.name.startswith("."))

    def flush(self, client: Client, *, cancel: Optional[threading.Event] = None) -> int:
        """Sends all, and returns how many; what it raises leaves the job and those after it kept."""
        sent = 0
        for path in self.waiting():
            try:
                body = path.read_bytes()
            except FileNotFoundError:  # another process sent it meanwhile
                continue
            client.send(body, lane=path.name.split(".")[-2], cancel=cancel)
            path.unlink(missing_ok=True)
            sent += 1
        return sent


class _Link:
    """A connection and its channel, driven until a deadline or until the caller cancels: pika's
    ``BlockingConnection`` waits for the broker's answers without end."""

    def __init__(
        self, parameters: pika.URLParameters, deadline: float, cancel: Optional[threading.Event]
    ) -> None:
        self.lost: Optional[BaseException] = None
        self.channel: Any = None
        self._ready = False
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
        )
        try:
            if not self.drive(lambda: self._ready, min(deadline, time.monotonic() + _SETUP), cancel):
                raise exceptions.AMQPConnectionError("the broker did not answer in time")
        except BaseException:
            self.close()
            raise

    def drive(
        self, until: Callable[[], bool], deadline: float, cancel: Optional[threading.Event] = None
    ) -> bool:
        """Drives it until something is so; ``False`` when that was not in time."""
        while not until():
            _check(cancel)
            if self.lost is not None:
                raise exceptions.AMQPConnectionError(self.lost) from self.lost
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.turn(min(left, _LOOK))
        return True

    def turn(self, seconds: float) -> None:
        """Drives it until something happens, and no longer than that."""
        loop = self._connection.ioloop
        end = loop.call_later(seconds, loop.stop)
        try:
            loop.start()
        finally:
            loop.remove_timeout(end)

    def close(self) -> None:
        if not self._connection.is_closed and not self._connection.is_closing:
            try:
                self._connection.close()
                ends = time.monotonic() + 1
                while not self._connection.is_closed and time.monotonic() < ends:
                    self.turn(_LOOK)
            # Nothing is on its way any more. pika asserts that a connection ends its handshake.
            except (exceptions.AMQPError, AssertionError) as error:
                log.debug("the connection did not close in order: %r", error)
        self._connection.ioloop.close()

    def _opened(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_close_callback(lambda _, reason: self._on_lost(None, reason))

    def _on_ready(self, _: Any) -> None:
        self._ready = True
        self._connection.ioloop.stop()

    def _on_lost(self, _: Any, reason: Union[str, BaseException]) -> None:
        if self.lost is None:
            self.lost = reason if isinstance(reason, BaseException) else exceptions.AMQPError(reason)
        self._connection.ioloop.stop()


class _Sender(_Link):
    """A connection with confirms, and one job on its way at a time."""

    _answer: Optional[bool] = None
    _returned: Optional[str] = None

    def publish(
        self,
        exchange: str,
        lane: Lane,
        body: bytes,
        properties: pika.BasicProperties,
        deadline: float,
        cancel: Optional[threading.Event],
    ) -> None:
        self._answer = self._returned = None
        if self.lost is not None or not self.channel.is_open:
            raise exceptions.AMQPConnectionError(self.lost)
        self.channel.basic_publish(exchange, lane.value, body, properties, mandatory=True)
        if not self.drive(lambda: self._answer is not None, deadline, cancel):
            raise NotConfirmed("no confirmation in time: the job may or may not be there; send it again")
        if self._returned is not None:
            raise NoSuchLane(f"no queue takes lane {lane.value} of {exchange}: {self._returned}")
        if not self._answer:
            raise QueueFull(f"lane {lane.value} of {exchange} is full: wait, and send the job again")

    def _opened(self, channel: Any) -> None:
        super()._opened(channel)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=self._on_ready)

    def _on_return(self, _: Any, method: Any, __: Any, ___: bytes) -> None:
        self._returned = f"{method.reply_code} {method.reply_text}"  # the confirmation follows

    def _on_confirm(self, frame: Any) -> None:
        self._answer = isinstance(frame.method, pika.spec.Basic.Ack)
        self._connection.ioloop.stop()


class _Reader(_Link):
    """A connection that listens to the stream of events."""

    def __init__(
        self,
        parameters: pika.URLParameters,
        queue: str,
        start: Offset,
        deadline: float,
        cancel: Optional[threading.Event],
    ) -> None:
        self.arrived: Deque[Tuple[Any, Any, bytes]] = deque()
        self._queue = queue
        self._start = start
        super().__init__(parameters, deadline, cancel)

    def _opened(self, channel: Any) -> None:
        super()._opened(channel)
        channel.add_on_cancel_callback(lambda _: self._on_lost(None, "the broker ended the stream"))
        channel.basic_qos(prefetch_count=100)
        arguments = {"x-stream-offset": self._start}
        channel.basic_consume(self._queue, self._on_message, arguments=arguments, callback=self._on_ready)

    def _on_message(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self.arrived.append((method, properties, body))
        self._connection.ioloop.stop()


class _Log:
    """The stream of events, read on where it was when a connection is lost.

    ``heartbeat`` is in seconds, the broker's by default, which one who is long about an event wants:
    we answer the broker only while the next is asked for.
    """

    def __init__(
        self,
        client: Client,
        start: Offset,
        cancel: Optional[threading.Event],
        heartbeat: Optional[int] = None,
    ) -> None:
        self._client = client
        self._parameters = copy.copy(client._parameters)
        if self._parameters.heartbeat is None:
            self._parameters.heartbeat = heartbeat
        self._queue = f"{client._prefix}.events.log"
        self._start: Offset = start
        self._cancel = cancel
        self._reader: Optional[_Reader] = None

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def attach(self, deadline: float) -> Optional[_Reader]:
        """Begins to listen; ``None`` when that was not possible in time."""
        for pause in _pauses():
            _check(self._cancel)
            if self._client._closed:
                raise Closed("no events from the broker: the client is closed")
            try:
                self._reader = _Reader(self._parameters, self._queue, self._start, deadline, self._cancel)
                # Where to go on if the connection is lost before anything arrived.
                if self._start == "last":  # then nothing was there
                    self._start = "first"
                elif self._start == "next":  # rather some events from before than to miss one
                    self._start = datetime.now(timezone.utc) - _CLOCKS
                return self._reader
            except (exceptions.AMQPError, OSError) as error:
                _raise_if_refused(error)
                log.warning("no events from the broker, trying again: %r", error)
            if time.monotonic() + pause >= deadline:
                return None
            _rest(pause, self._cancel)
        raise AssertionError("there is always another pause")

    def next(self, deadline: float) -> Optional[Tuple[Event, Optional[str]]]:
        """The next event and its message's correlation id; ``None`` when there was none in time."""
        while True:
            _check(self._cancel)
            reader = self._reader or self.attach(deadline)
            if reader is None:
                return None
            try:
                if not reader.drive(lambda: bool(reader.arrived), deadline, self._cancel):
                    return None
                message = reader.arrived.popleft()
                offset = self._acknowledge(reader, *message)
            except exceptions.AMQPError as error:
                log.warning("the connection is lost, reading events on from %r: %r", self._start, error)
                self._drop()
                continue
            return self._read(offset, *message[1:])

    def _acknowledge(self, reader: _Reader, method: Any, properties: Any, _: bytes) -> int:
        offset = (properties.headers or {}).get("x-stream-offset")
        if not isinstance(offset, int):
            raise BrokerRefused(f"{self._queue} is no stream")
        reader.channel.basic_ack(method.delivery_tag)
        reader.turn(0)  # the acknowledgement, and the broker's heartbeat
        self._start = offset + 1
        return offset

    def _read(self, offset: int, properties: Any, body: bytes) -> Tuple[Event, Optional[str]]:
        try:
            it = _structured(properties, body)
            event = Event(it["id"], it["source"], it["type"], it["time"], it.get("subject"), offset, it)
            if not all(isinstance(one, str) for one in (event.id, event.source, event.type, event.time)):
                raise TypeError("its attributes are no text")
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UnknownEvent(f"{self._queue} has no event at offset {offset}: {error!r}") from error
        return event, properties.correlation_id

    def find(self, job_id: str, correlation_id: Optional[str], deadline: float) -> Optional[Outcome]:
        """What became of a job; ``None`` when no event said so in time. What is no event of banshi
        does not end it."""
        while True:
            try:
                found = self.next(deadline)
                if found is None:
                    return None
                event, its_correlation = found
                if event.job_id == job_id and correlation_id in (None, "", its_correlation):
                    return event.outcome
            except UnknownEvent as error:
                log.warning("passed over: %s", error)

    def _drop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def _structured(properties: Any, body: bytes) -> Mapping[str, Any]:
    """An event whole, in whichever of CloudEvents' two modes its message has it."""
    if (properties.content_type or "").startswith("application/cloudevents"):
        it: Mapping[str, Any] = json.loads(body)
        return it
    data = json.loads(body)
    attributes = {name[3:]: value for name, value in properties.headers.items() if name.startswith("ce-")}
    if "job_id" in data:  # not every subject can stand in a header
        attributes.setdefault("subject", data["job_id"])
    return {**attributes, "datacontenttype": properties.content_type, "data": data}


def _check(cancel: Optional[threading.Event]) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled("the call was cancelled")


def _rest(pause: float, cancel: Optional[threading.Event]) -> None:
    if cancel is None:
        time.sleep(pause)
    elif cancel.wait(pause):
        _check(cancel)


def _read(job: Job, correlation_id: Optional[str] = None) -> Tuple[bytes, str]:
    """A job's bytes and its id."""
    try:
        if isinstance(job, Mapping):
            read: Any = job
            body = json.dumps(job, ensure_ascii=False, allow_nan=False).encode()
        else:
            body = job.encode() if isinstance(job, str) else bytes(job)
            read = json.loads(body)  # with a byte-order mark, too, as the service
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidJob(f"the job is not JSON: {error}") from error
    job_id = read.get("job_id") if isinstance(read, Mapping) else None
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidJob(f"job_id is {job_id!r} and must be 1-128 of A-Z a-z 0-9 . _ -, a letter or digit first")
    length = len((correlation_id or "").encode())
    if length > 255:  # AMQP's short string
        raise InvalidJob(f"job {job_id}: its correlation id has {length} bytes; there may be 255")
    return body, job_id


def _lane(lane: Union[Lane, str]) -> Lane:
    try:
        return Lane(lane)
    except ValueError:
        raise NoSuchLane(f"there is no lane {lane!r}; there are bulk and urgent") from None


def _deadline(timeout: Optional[float]) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


_numbers = threading.Lock()
_last = 0


def _number() -> int:
    """The moment in nanoseconds, and more than the one before, in whichever outbox that was."""
    global _last
    with _numbers:
        _last = max(_last + 1, time.time_ns())
        return _last


def _pauses() -> Iterator[float]:
    pause, most = _PAUSES
    while True:
        yield pause
        pause = min(2 * pause, most)


def _raise_if_refused(error: BaseException) -> None:
    """What another try would not change."""
    error = error.__cause__ or error
    closed = isinstance(error, exceptions.ChannelClosedByBroker) or "ChannelClosedByBroker" in repr(error)
    # pika says "probable" of every connection that ends in its handshake; this is the broker's word.
    if closed or re.search(r"ConnectionClosedByBroker: \((403|530)\)", repr(error)):
        raise BrokerRefused(f"the broker refuses: {error!r}") from error
    if "CertVerificationError" in repr(error):
        raise BrokerRefused(f"the broker's certificate is not trusted: {error!r}") from error
