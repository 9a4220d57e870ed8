"""Holds each client to the same promises, before a real broker and a real banshi.

    AMQP_URL=… BANSHI=target/debug/banshi python clients/conformance/run.py [CLIENT…]

Prints a table, and ends with 1 if a client breaks a promise. It speaks to each client's driver, a
small program, by lines of JSON (README.md).
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
from pathlib import Path

import pika

from proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "target" / "clients"
BROKER = os.environ["AMQP_URL"]
BANSHI = str(Path(os.environ.get("BANSHI", ROOT / "target/debug/banshi")).resolve())
#: Seconds, longer than anything that is waited for takes.
PATIENCE = 120
EXCHANGES = "jobs unrouted retry.5s retry.30s retry.5m dlx events replies status".split()
QUEUES = "jobs.urgent jobs.bulk retry.5s retry.30s retry.5m dead unrouted events.log".split()


# --- the clients -----------------------------------------------------------------------------------


def python():
    return [sys.executable, str(ROOT / "clients/python/driver.py")]


def node():
    built = BUILT / "node"
    for name in ("banshi-client.ts", "driver.ts", "package.json", "tsconfig.json"):
        copy(ROOT / "clients/node" / name, built / name)
    modules = built / "node_modules"
    if not modules.is_symlink():
        modules.symlink_to(ROOT / "target/tools/clients/node_modules")
    subprocess.run([modules / ".bin/tsc", "-p", built], check=True)
    return ["node", str(built / "dist/driver.js")]


def java():
    jars = "amqp-client slf4j-api slf4j-simple jackson-core jackson-databind jackson-annotations".split()
    libraries = ":".join(f"/usr/share/java/{jar}.jar" for jar in jars)
    built, source = BUILT / "java", ROOT / "clients/java"
    sources = [source / "Driver.java", *sorted((source / "banshi/client").glob("*.java"))]
    subprocess.run(
        ["javac", "--release", "17", "-Xlint:all", "-Werror", "-encoding", "UTF-8", "-cp", libraries, "-d", built, *sources],
        check=True,
    )
    return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{built}:{libraries}", "Driver"]


def go():
    # Debian's libraries, without a module proxy; a folder of links stands for the module's path.
    built = BUILT / "go"
    for name in ("client.go", "outbox.go"):
        copy(ROOT / "clients/go" / name, built / "src/banshi.example/client" / name)
    copy(ROOT / "clients/go/driver/main.go", built / "src/driver/main.go")
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": f"{built}:/usr/share/gocode", "GOFLAGS": "-buildvcs=false"}
    for command in (["go", "vet", "banshi.example/client", "driver"], ["go", "build", "-o", built / "driver", "driver"]):
        subprocess.run(command, env=environment, cwd=built, check=True)
    return [str(built / "driver")]


CLIENTS = {"python": python, "node": node, "java": java, "go": go}


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


# --- what they play with ---------------------------------------------------------------------------


class Deployment:
    """Queues of its own at the broker, a store, workers when they are wanted, and a proxy."""

    def __init__(self, client):
        self.prefix = f"clients-{client}-{secrets.token_hex(4)}"
        self.folder = Path(tempfile.mkdtemp(prefix=self.prefix))
        self.workers = []
        address = urllib.parse.urlsplit(BROKER)
        self.proxy = Proxy(address.hostname, address.port or 5672)
        where = f"{address.username}:{address.password}@127.0.0.1:{self.proxy.port}"
        self.url = address._replace(netloc=where).geturl()
        self.connection = pika.BlockingConnection(pika.URLParameters(BROKER))
        self.channel = self.connection.channel()
        self.settings = {
            "QUEUE__URL": BROKER,
            "QUEUE__PREFIX": self.prefix,
            "STORE__URL": f"file:{self.folder / 'store'}",
            "STORE__CREATE": "always",
            "FONTS__DIR": str(ROOT / "fonts"),
            "ADMIN__LISTEN": "",
            "RENDER__THREADS": "1",
            "WORKER__ATTEMPTS": "1",
        }
        self.banshi("worker", "--until-idle").check_returncode()  # which declares the queues

    def environment(self):
        return os.environ | {f"BANSHI__{key}": value for key, value in self.settings.items()}

    def banshi(self, *arguments):
        with (self.folder / "banshi.log").open("ab") as log:
            command = [BANSHI, *arguments]
            return subprocess.run(command, env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL, stderr=log)

    def banshi_sends(self, job_id):
        """A job from sender to event, without the client."""
        properties = pika.BasicProperties(delivery_mode=2)
        self.channel.basic_publish(self.name("jobs"), "bulk", job(job_id).encode(), properties)
        self.until("it is there", lambda: self.ready("jobs.bulk") == 1)
        self.banshi("worker", "--until-idle").check_returncode()

    def work(self):
        """A worker, until the deployment is removed."""
        log = (self.folder / "worker.log").open("ab")
        self.workers.append(
            subprocess.Popen([BANSHI, "worker"], env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL, stderr=log)
        )

    def break_store(self):
        (self.folder / "store").mkdir(exist_ok=True)
        (self.folder / "store/annual-report").write_text("in the way")

    def name(self, rest):
        return f"{self.prefix}.{rest}"

    def shrink(self, lane):
        """The lane takes one job."""
        self.channel.queue_delete(self.name(f"jobs.{lane}"))
        arguments = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": 1}
        self.channel.queue_declare(self.name(f"jobs.{lane}"), durable=True, arguments=arguments)
        self.channel.queue_bind(self.name(f"jobs.{lane}"), self.name("jobs"), lane)

    def take(self, rest):
        """All that is ready in a queue, taken out."""
        found = []
        while True:
            method, properties, body = self.channel.basic_get(self.name(rest), auto_ack=True)
            if method is None:
                return found
            found.append((properties, body))

    def ready(self, rest):
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(BROKER))) as connection:
            return connection.channel().queue_declare(self.name(rest), passive=True).method.message_count

    def until(self, what, so):
        ends = time.monotonic() + PATIENCE
        while not so():
            assert time.monotonic() < ends, f"waited in vain until {what}"
            time.sleep(0.02)

    def remove(self):
        self.proxy.close()
        for worker in self.workers:
            worker.terminate()
            worker.wait()
        self.connection.close()
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(BROKER))) as connection:
            channel = connection.channel()
            for rest in QUEUES:
                channel.queue_delete(self.name(rest))
            for rest in EXCHANGES:
                channel.exchange_delete(self.name(rest))
        shutil.rmtree(self.folder)


class Driver:
    """A client's program."""

    def __init__(self, command, deployment, log, variables):
        environment = os.environ | {"BANSHI_URL": deployment.url, "BANSHI_PREFIX": deployment.prefix} | variables
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, encoding="utf-8"
        )
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def ask(self, op, **asked):
        """Sends a request."""
        print(json.dumps({"op": op, **asked}), file=self.process.stdin, flush=True)

    def answer(self):
        line = self.lines.get(timeout=PATIENCE)
        assert line is not None, f"the driver ended with {self.process.wait()}"
        return json.loads(line)

    def done(self):
        """The answer to what was asked, which is no error."""
        said = self.answer()
        assert "ok" in said, said
        return said["ok"]

    def does(self, op, **asked):
        self.ask(op, **asked)
        return self.done()

    def fails(self, op, **asked):
        """The code of the error that it ends with, which has words, too."""
        self.ask(op, **asked)
        said = self.answer()
        assert said.get("message"), f"no error: {said}"
        return said["error"]

    def send(self, job, lane="bulk", timeout=60):
        return self.does("send", job=job, lane=lane, timeout=timeout)

    def wait_for(self, job, timeout=PATIENCE):
        return self.does("send_and_wait", job=job, timeout=timeout)

    def events(self, start, count, timeout=PATIENCE):
        return self.does("events", **{"from": start}, count=count, timeout=timeout)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0, f"it ended with {self.process.returncode}"


def job(job_id, source="pingtan-2023"):
    """A real report, as text."""
    read = json.loads((ROOT / f"tests/corpus/{source}.json").read_text("utf-8"))
    return json.dumps({**read, "job_id": job_id}, ensure_ascii=False)


def ids(messages):
    return [json.loads(body)["job_id"] for _, body in messages]


def published(deployment):
    """The events in the log, as the broker has them."""
    found = []
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(BROKER))) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=100)
        log = channel.consume(
            deployment.name("events.log"), arguments={"x-stream-offset": "first"}, inactivity_timeout=1
        )
        for method, _, body in log:
            if method is None:
                return found
            channel.basic_ack(method.delivery_tag)
            found.append(json.loads(body))


# --- the promises ----------------------------------------------------------------------------------
# Each takes a deployment and a function that starts the client's driver; its first line is its name.


def a_job_is_confirmed(deployment, start):
    """a job is confirmed: persistent, in its lane, to the byte"""
    driver, sent = start(), job("one")
    assert driver.send(sent) == "confirmed"
    assert driver.send(job("two"), lane="urgent") == "confirmed"
    [(properties, body)] = deployment.take("jobs.bulk")
    assert body == sent.encode()
    assert (properties.delivery_mode, properties.content_type, properties.message_id) == (2, "application/json", "one")
    assert ids(deployment.take("jobs.urgent")) == ["two"]


def a_full_lane_is_told(deployment, start):
    """a full lane (nack) is an error of its own; the job goes in once there is room"""
    deployment.shrink("bulk")
    driver, sent = start(), 0
    # A quorum queue may take one or two more than it should before it refuses.
    while True:
        driver.ask("send", job=job(f"j{sent}"), lane="bulk", timeout=60)
        said = driver.answer()
        if "error" in said:
            break
        sent += 1
        assert sent < 50, "it never was full"
    assert said["error"] == "queue-full" and said["message"], said
    assert ids(deployment.take("jobs.bulk")) == [f"j{at}" for at in range(sent)]
    driver.send(job("later"))
    assert ids(deployment.take("jobs.bulk")) == ["later"]


def a_lane_without_a_queue_is_told(deployment, start):
    """a job that no queue takes (returned) is an error of its own; so is a mistyped lane"""
    driver = start()
    assert driver.fails("send", job=job("one"), lane="urgnet", timeout=60) == "no-such-lane"
    assert deployment.proxy.published == 0
    for rest in ("jobs.bulk", "unrouted"):
        deployment.channel.queue_delete(deployment.name(rest))
    assert driver.fails("send", job=job("two"), lane="bulk", timeout=60) == "no-such-lane"
    assert driver.send(job("three"), lane="urgent") == "confirmed"
    assert ids(deployment.take("jobs.urgent")) == ["three"]


def what_is_no_job_is_not_sent(deployment, start):
    """what has no job_id is not sent"""
    driver = start()
    for bad in ("", "[]", "{}", '{"job_id": 7}', '{"job_id": "-x"}', '{"job_id": "a b"}'):
        assert driver.fails("send", job=bad, lane="bulk", timeout=60) == "invalid-job", bad
    assert deployment.proxy.published == 0


def a_connection_cut_before(deployment, start):
    """a connection cut before the broker has the job: sent again, there once"""
    driver = start()
    deployment.proxy.next = "lose"
    assert driver.send(job("one")) == "confirmed"
    assert deployment.proxy.published == 2
    assert ids(deployment.take("jobs.bulk")) == ["one"]


def a_connection_cut_after(deployment, start):
    """a connection cut after the broker has it, before the confirm: sent again, one result"""
    driver = start()
    deployment.proxy.has_it = lambda: deployment.until("the job is there", lambda: deployment.ready("jobs.bulk") == 1)
    deployment.proxy.next = "cut"
    assert driver.send(job("one")) == "confirmed"
    deployment.until("it is there twice", lambda: deployment.ready("jobs.bulk") == 2)
    deployment.banshi("worker", "--until-idle").check_returncode()
    events = published(deployment)
    assert [event["type"] for event in events] == ["report.completed"] * 2
    assert events[0] == events[1]


def a_connection_cut_between(deployment, start):
    """a connection cut between two jobs: the next send connects anew"""
    driver = start()
    driver.send(job("one"))
    deployment.proxy.cut()
    driver.send(job("two"))
    assert ids(deployment.take("jobs.bulk")) == ["one", "two"]


def no_confirm_in_time(deployment, start):
    """no confirm in time is an error of its own, and a late one is not taken for the next job's"""
    driver = start()
    deployment.proxy.next = "mute"
    assert driver.fails("send", job=job("one"), lane="bulk", timeout=1) == "not-confirmed"
    deployment.proxy.next = "pass"
    for rest in ("jobs.urgent", "unrouted"):
        deployment.channel.queue_delete(deployment.name(rest))
    assert driver.fails("send", job=job("lost"), lane="urgent", timeout=60) == "no-such-lane"
    assert driver.send(job("two")) == "confirmed"
    assert ids(deployment.take("jobs.bulk")) == ["one", "two"]
    deployment.proxy.close()
    assert driver.fails("send", job=job("three"), lane="bulk", timeout=1) == "not-confirmed"
    assert driver.fails("send_and_wait", job=job("four"), timeout=1) == "not-confirmed"


def a_connection_cut_in_its_handshake(deployment, start):
    """a connection cut in its handshake is not taken for wrong credentials"""
    driver = start()
    deployment.proxy.next = "handshake"
    assert driver.send(job("one")) == "confirmed"
    deployment.proxy.next = "handshake"
    assert driver.events("first", 1, timeout=1) == []
    assert deployment.proxy.next == "pass"
    assert ids(deployment.take("jobs.bulk")) == ["one"]


def wrong_credentials_are_told(deployment, start):
    """a wrong password and an unknown virtual host are told"""
    user, rest = deployment.url.split("@")
    for url in (f"{user}x@{rest}", f"{user}@{rest}x"):
        driver = start(BANSHI_URL=url)
        assert driver.fails("send", job=job("one"), lane="bulk", timeout=PATIENCE) == "refused"
        assert driver.fails("events", **{"from": "first"}, count=1, timeout=PATIENCE) == "refused"
    assert deployment.proxy.published == 0


def a_refusal_is_not_tried_again(deployment, start):
    """what the broker forbids is told at once"""
    driver = start(BANSHI_PREFIX="nobody-has-this-prefix")
    assert driver.fails("send", job=job("one"), lane="bulk", timeout=PATIENCE) == "refused"
    assert driver.fails("events", **{"from": "first"}, count=1, timeout=PATIENCE) == "refused"
    assert deployment.proxy.published == 1


def a_job_completes(deployment, start):
    """send and wait: completed, with the PDF's place and digest, and warnings"""
    deployment.work()
    driver = start()
    said = driver.wait_for(job("one"))
    [event] = published(deployment)
    data = event["data"]
    assert said == {
        "outcome": "completed", "job_id": "one", "event": event["id"], "template": data["template"],
        "title": data["title"], "artifact": data["artifact"], "manifest": data["manifest"]["uri"],
        "warnings": data["warnings"],
    }
    assert said["warnings"], "it has one"
    pdf = Path(urllib.parse.unquote(urllib.parse.urlsplit(said["artifact"]["uri"]).path)).read_bytes()
    assert hashlib.sha256(pdf).hexdigest() == said["artifact"]["sha256"] and len(pdf) == said["artifact"]["bytes"]


def the_same_job_twice(deployment, start):
    """the same job twice: the same answer; its repeated event is read once"""
    deployment.work()
    driver = start()
    assert driver.wait_for(job("one")) == driver.wait_for(job("one"))
    driver.wait_for(job("two"))
    assert [event["subject"] for event in published(deployment)] == ["one", "one", "two"]
    assert [event["job_id"] for event in driver.events("first", 2)] == ["one", "two"]


def a_job_is_rejected(deployment, start):
    """send and wait: rejected, with every problem's code, place and words in both languages"""
    deployment.work()
    driver = start()
    bad = json.loads(job("bad", "jinhu-2023"))
    bad["data"]["requests"]["received"]["natural_person"] += 7
    said = driver.wait_for(json.dumps(bad))
    [event] = published(deployment)
    assert said == {"outcome": "rejected", "job_id": "bad", "event": event["id"], "problems": event["data"]["problems"]}
    assert {"R-COLUMN", "R-REVIEW"} <= {problem["code"] for problem in said["problems"]}
    # The corrected job has the same id: the earlier answer is not taken for its own.
    assert driver.wait_for(job("bad"))["outcome"] == "completed"


def a_job_fails(deployment, start):
    """send and wait: failed, with the part, the attempts and the reason"""
    deployment.break_store()
    deployment.work()
    driver = start()
    said = driver.wait_for(job("one"))
    [event] = published(deployment)
    error = event["data"]["error"]
    assert said == {
        "outcome": "failed", "job_id": "one", "event": event["id"], "code": error["code"],
        "message": error["message"], "attempts": event["data"]["attempts"],
    }
    assert said["code"] == "store"


def a_wait_goes_on_over_a_cut(deployment, start):
    """send and wait goes on when the connection is cut meanwhile"""
    driver = start()
    driver.ask("send_and_wait", job=job("one"), timeout=PATIENCE)
    deployment.until("the job is there", lambda: deployment.ready("jobs.bulk") == 1)
    deployment.proxy.cut()
    deployment.work()
    assert driver.done()["outcome"] == "completed"


def a_wait_ends(deployment, start):
    """a wait ends in time, or when it is cancelled; the job stays"""
    driver = start()
    assert driver.fails("send_and_wait", job=job("one"), timeout=2) == "timed-out"
    assert driver.fails("send_and_wait", job=job("two"), timeout=PATIENCE, cancel_after=2) == "cancelled"
    assert ids(deployment.take("jobs.bulk")) == ["one", "two"]


def events_are_read_from_an_offset(deployment, start):
    """events from an offset, the first, and only new ones; a quiet log ends in time"""
    for name in ("one", "two", "three"):
        deployment.banshi_sends(name)
    driver = start()
    events = driver.events("first", 3)
    assert [event["job_id"] for event in events] == ["one", "two", "three"]
    assert [event["id"] for event in events] == [event["id"] for event in published(deployment)]
    assert driver.events(events[1]["offset"], 2) == events[1:]
    assert driver.events(events[2]["offset"] + 1, 1, timeout=1) == []
    assert driver.events("next", 1, timeout=1) == []


def events_go_on_over_a_cut(deployment, start):
    """events go on where they were when the connection is cut: none lost, none twice"""
    for name in ("one", "two"):
        deployment.banshi_sends(name)
    driver = start()
    driver.ask("events", **{"from": "first"}, count=4, timeout=PATIENCE)
    deployment.until("it has read", lambda: deployment.proxy.delivered >= 2)
    deployment.proxy.cut()
    for name in ("three", "four"):
        deployment.banshi_sends(name)
    assert [event["job_id"] for event in driver.done()] == ["one", "two", "three", "four"]


def only_new_events_go_on_over_a_cut(deployment, start):
    """only new events, and the connection is cut before there is any: none is lost"""
    driver = start()
    driver.ask("events", **{"from": "next"}, count=2, timeout=PATIENCE)
    deployment.until("it listens", lambda: deployment.proxy.consuming == 1)
    deployment.proxy.close()
    for name in ("one", "two"):
        deployment.banshi_sends(name)
    deployment.proxy.open()
    assert [event["job_id"] for event in driver.done()] == ["one", "two"]


def an_outbox_survives(deployment, start):
    """a sender killed with jobs in its outbox: all are sent, in order, by the next; none is left"""
    outbox = deployment.folder / "outbox"
    driver = start()
    names = [f"j{at}" for at in range(5)]
    for name in names:
        assert driver.does("outbox_put", folder=str(outbox), job=job(name), lane="bulk") == "kept"
    driver.kill()
    driver = start()
    deployment.proxy.next = "mute"
    driver.ask("outbox_flush", folder=str(outbox))
    deployment.until("the first is there", lambda: deployment.ready("jobs.bulk") == 1)
    driver.kill()  # before the confirm
    (outbox / f".{'9' * 20}-0.bulk.json.part").write_text("{")  # killed while it kept another
    deployment.proxy.next = "pass"
    driver = start()
    assert driver.does("outbox_flush", folder=str(outbox)) == 5
    assert ids(deployment.take("jobs.bulk")) == ["j0", *names]
    assert [path for path in outbox.iterdir() if path.suffix != ".part"] == []
    assert driver.does("outbox_flush", folder=str(outbox)) == 0


def an_outbox_keeps_what_is_refused(deployment, start):
    """an outbox keeps what was not confirmed, and keeps each job's lane"""
    outbox = str(deployment.folder / "outbox")
    driver = start()
    driver.does("outbox_put", folder=outbox, job=job("one"), lane="urgent")
    driver.does("outbox_put", folder=outbox, job=job("two"), lane="bulk")
    for rest in ("jobs.bulk", "unrouted"):
        deployment.channel.queue_delete(deployment.name(rest))
    assert driver.fails("outbox_flush", folder=outbox) == "no-such-lane"
    assert ids(deployment.take("jobs.urgent")) == ["one"]
    deployment.banshi("worker", "--until-idle").check_returncode()  # declares the queues again
    assert driver.does("outbox_flush", folder=outbox) == 1
    assert ids(deployment.take("jobs.bulk")) == ["two"]


PROMISES = [
    a_job_is_confirmed, a_full_lane_is_told, a_lane_without_a_queue_is_told, what_is_no_job_is_not_sent,
    a_connection_cut_before, a_connection_cut_after, a_connection_cut_between, no_confirm_in_time,
    a_connection_cut_in_its_handshake, wrong_credentials_are_told,
    a_refusal_is_not_tried_again, a_job_completes, the_same_job_twice, a_job_is_rejected, a_job_fails,
    a_wait_goes_on_over_a_cut, a_wait_ends, events_are_read_from_an_offset, events_go_on_over_a_cut,
    only_new_events_go_on_over_a_cut, an_outbox_survives, an_outbox_keeps_what_is_refused,
]


def keeps(promise, client, command):
    deployment = Deployment(client)
    log = (deployment.folder / "driver.log").open("a+")
    drivers = []

    def start(**variables):
        drivers.append(Driver(command, deployment, log, variables))
        return drivers[-1]

    try:
        promise(deployment, start)
        for driver in drivers:
            if driver.process.poll() is None:
                driver.close()
        return True
    except Exception:
        log.seek(0)
        said = "".join(log.readlines()[-30:])
        print(f"{client} breaks {promise.__name__}\n{traceback.format_exc()}{said}", file=sys.stderr, flush=True)
        return False
    finally:
        for driver in drivers:
            if driver.process.poll() is None:
                driver.kill()
        log.close()
        deployment.remove()


def main():
    chosen = sys.argv[1:] or list(CLIENTS)
    commands = {client: CLIENTS[client]() for client in chosen}
    only = os.environ.get("PROMISE")
    promises = [promise for promise in PROMISES if only is None or promise.__name__ in only.split()]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        rows = [
            (promise, [pool.submit(keeps, promise, client, command) for client, command in commands.items()])
            for promise in promises
        ]
    print("| promise | " + " | ".join(commands) + " |")
    print("|---" * (len(commands) + 1) + "|")
    for promise, kept in rows:
        cells = ["yes" if it.result() else "NO" for it in kept]
        print("| " + " | ".join([promise.__doc__.splitlines()[0], *cells]) + " |")
    every = [it.result() for _, kept in rows for it in kept]
    print(f"\n{every.count(True)} passed, {every.count(False)} failed")
    sys.exit(0 if every and all(every) else 1)


main()
