"""Holds each client to the same promises, before a real broker and a real banshi.

    AMQP_URL=… python clients/conformance/run.py [--quick] [CLIENT…]

Prints a table, and ends with 1 if a client breaks a promise or docs/clients.md has another table.
`--quick` leaves out what needs a broker of its own; `UPDATE=1` writes the table anew; `PROMISE=…`
runs the promises of these names only. It speaks to each client's driver, a small program, by lines
of JSON (README.md).
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import platform
import queue
import re
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
import uuid
import zipfile
from pathlib import Path

import pika

from proxy import CHANNEL_OPEN, START_OK, Proxy

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


def versions():
    """What the clients ran with."""
    said = lambda *command: subprocess.run(command, check=True, capture_output=True, text=True).stdout
    modules = ROOT / "target/tools/clients/node_modules"
    amqplib = json.loads((modules / "amqplib/package.json").read_text())["version"]
    with zipfile.ZipFile("/usr/share/java/amqp-client.jar") as jar:
        jar = jar.read("META-INF/MANIFEST.MF").decode()
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(BROKER))) as connection:
        broker = connection._impl.server_properties["version"]
    return (
        f"RabbitMQ {broker}, Python {platform.python_version()} with pika {pika.__version__}, "
        f"Node.js {said('node', '--version')[1:].strip()} with amqplib {amqplib}, "
        f"Java {said('java', '--version').split()[1]} with amqp-client "
        f"{re.search('Bundle-Version: *([0-9.]+)', jar)[1].rstrip('.')}, "
        f"Go {said('go', 'version').split()[2][2:]} with amqp091-go "
        f"{re.search('amqp091-go v([0-9.]+)', (ROOT / 'clients/go/go.mod').read_text())[1]}"
    )


# --- what they play with ---------------------------------------------------------------------------


class Node:
    """A broker of its own, to be restarted, that speaks TLS, too; started when it is first wanted.
    `BANSHI_TEST_BROKER` names the program that starts one."""

    PORT, TLS = 5830, 5835

    def __init__(self):
        self.script = os.environ.get("BANSHI_TEST_BROKER")
        self.folder = None
        self.lock = threading.Lock()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.PORT}/%2f"

    def start(self):
        with self.lock:
            if self.folder is None:
                self.folder = Path(tempfile.mkdtemp(prefix="clients-node"))
                self.certify()
                self.tool("start")
        return self

    def certify(self):
        """An authority, and a certificate for 127.0.0.1 that it has signed."""
        openssl = lambda *arguments: subprocess.run(
            ["openssl", *arguments], cwd=self.folder, check=True, capture_output=True
        )
        new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split()
        openssl(*new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
        request = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split()
        openssl(*request, "-subj", "/CN=broker", "-keyout", "broker.key", "-out", "broker.csr")
        (self.folder / "host").write_text("subjectAltName=IP:127.0.0.1\n")
        sign = "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile host"
        openssl(*sign.split(), "-out", "broker.pem")
        (self.folder / "more.conf").write_text(
            f"listeners.ssl.1 = 127.0.0.1:{self.TLS}\n"
            f"ssl_options.cacertfile = {self.folder}/ca.pem\n"
            f"ssl_options.certfile = {self.folder}/broker.pem\n"
            f"ssl_options.keyfile = {self.folder}/broker.key\n"
        )

    def tool(self, verb):
        own = {"PORT": str(self.PORT), "DIR": str(self.folder), "CONF": str(self.folder / "more.conf"), "PLUGINS": ""}
        environment = os.environ | {f"BANSHI_TEST_BROKER_{key}": value for key, value in own.items()}
        subprocess.run([self.script, verb], env=environment, check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        if self.folder is not None:
            self.tool("stop")
            shutil.rmtree(self.folder)


NODE = Node()


class Deployment:
    """Queues of its own at a broker, a store, workers when they are wanted, and a proxy."""

    def __init__(self, client, broker):
        self.broker = broker
        self.prefix = f"clients-{client}-{secrets.token_hex(4)}"
        self.folder = Path(tempfile.mkdtemp(prefix=self.prefix))
        self.workers = []
        address = urllib.parse.urlsplit(broker)
        self.proxy = Proxy(address.hostname, address.port or 5672)
        where = f"{address.username}:{address.password}@127.0.0.1:{self.proxy.port}"
        self.url = address._replace(netloc=where).geturl()
        self.connect()
        self.settings = {
            "QUEUE__URL": broker,
            "QUEUE__PREFIX": self.prefix,
            "STORE__URL": f"file:{self.folder / 'store'}",
            "STORE__CREATE": "always",
            "FONTS__DIR": str(ROOT / "fonts"),
            "ADMIN__LISTEN": "",
            "RENDER__THREADS": "1",
            "RENDER__URGENT": "0",
            "WORKER__ATTEMPTS": "1",
        }
        self.banshi("worker", "--until-idle").check_returncode()  # which declares the queues

    def connect(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(self.broker))
        self.channel = self.connection.channel()

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

    def tell(self, event, binary=False, correlation_id=None):
        """Publishes an event, as a worker of either mode would."""
        properties = pika.BasicProperties(delivery_mode=2, correlation_id=correlation_id)
        properties.content_type = "application/cloudevents+json; charset=utf-8"
        if binary:
            data, properties.content_type = event["data"], event["datacontenttype"]
            attributes = {name: value for name, value in event.items() if name not in ("data", "datacontenttype")}
            properties.headers = {f"ce-{name}": value for name, value in attributes.items()}
        body = json.dumps(data if binary else event).encode()
        self.channel.basic_publish(self.name("events"), f"{event['type']}.x", body, properties)

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
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.broker))) as connection:
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
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self.broker))) as connection:
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

    def send(self, job, lane="bulk", timeout=60, **more):
        return self.does("send", job=job, lane=lane, timeout=timeout, **more)

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


def event_of(job_id, kind="report.completed", whole=True, more=False):
    """An event as schemas/event.schema.json has it: whole, or with what must be there alone."""
    schema = json.loads((ROOT / "schemas/event.schema.json").read_text("utf-8"))["$defs"]

    def made(it):
        it = schema[it["$ref"].removeprefix("#/$defs/")] if "$ref" in it else it
        match it.get("type"):
            case "object":
                return {
                    name: made(field) for name, field in it["properties"].items() if whole or name in it["required"]
                }
            case "array":
                return [made(it["items"])]
            case "integer":
                return 7
        return it.get("const") or (it.get("examples") or it.get("enum") or ["「x」"])[0]

    data = made(schema[kind])
    event = {
        "specversion": "1.0", "id": str(uuid.uuid4()), "source": "a-test", "type": kind,
        "time": "2026-01-31T10:00:00Z", "datacontenttype": "application/json", "data": data,
    }
    if "job_id" in data:
        event["subject"] = data["job_id"] = job_id
    if more:  # of a later version
        return {**event, "more": "x", "data": {**data, "more": {"x": 1}}}
    return event


def ids(messages):
    return [json.loads(body)["job_id"] for _, body in messages]


def published(deployment):
    """The events in the log, as the broker has them."""
    found = []
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(deployment.broker))) as connection:
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
    """a job is confirmed: persistent, in its lane, to the byte, with a byte-order mark or without
    任务得到确认：持久化，在其通道中，逐字节相同，有无字节顺序标记均可"""
    driver, sent = start(), job("one")
    assert driver.send(sent) == "confirmed"
    assert driver.send(job("two"), lane="urgent") == "confirmed"
    [(properties, body)] = deployment.take("jobs.bulk")
    assert body == sent.encode()
    assert (properties.delivery_mode, properties.content_type, properties.message_id) == (2, "application/json", "one")
    assert ids(deployment.take("jobs.urgent")) == ["two"]
    marked = "\ufeff" + job("three")
    assert driver.send(marked) == "confirmed"
    assert [body for _, body in deployment.take("jobs.bulk")] == [marked.encode()]


def what_goes_with_a_job(deployment, start):
    """a job's correlation id and headers go with it
    任务的correlation id和消息头随任务发出"""
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    assert start().send(job("one"), correlation_id="case 7", headers=trace) == "confirmed"
    [(properties, _)] = deployment.take("jobs.bulk")
    assert properties.correlation_id == "case 7"
    assert trace.items() <= properties.headers.items(), properties.headers  # the broker adds its own


def a_full_lane_is_told(deployment, start):
    """a full lane (nack) is an error of its own; the job goes in once there is room
    通道已满（nack）是单独的错误；有空位后任务可入队"""
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
    """a job that no queue takes (returned) is an error of its own; so is a mistyped lane
    没有队列接收的任务（退回）是单独的错误；写错的通道也是"""
    driver = start()
    assert driver.fails("send", job=job("one"), lane="urgnet", timeout=60) == "no-such-lane"
    assert deployment.proxy.published == 0
    for rest in ("jobs.bulk", "unrouted"):
        deployment.channel.queue_delete(deployment.name(rest))
    assert driver.fails("send", job=job("two"), lane="bulk", timeout=60) == "no-such-lane"
    assert driver.send(job("three"), lane="urgent") == "confirmed"
    assert ids(deployment.take("jobs.urgent")) == ["three"]


def what_is_no_job_is_not_sent(deployment, start):
    """what has no job_id, or too long a correlation id, is not sent
    没有job_id或correlation id过长的内容不发送"""
    driver = start()
    for bad in ("", "[]", "{}", '{"job_id": 7}', '{"job_id": "-x"}', '{"job_id": "a b"}'):
        assert driver.fails("send", job=bad, lane="bulk", timeout=60) == "invalid-job", bad
    for op in ("send", "send_and_wait"):
        long = {"job": job("one"), "lane": "bulk", "timeout": 60, "correlation_id": "号" * 86}
        assert driver.fails(op, **long) == "invalid-job"
    assert deployment.proxy.published == 0
    assert driver.send(job("one"), correlation_id="号" * 85) == "confirmed"  # 255 bytes


def a_connection_cut_before(deployment, start):
    """a connection cut before the broker has the job: sent again, there once
    任务到达消息服务器之前连接断开：重发，只有一份"""
    driver = start()
    deployment.proxy.next = "lose"
    assert driver.send(job("one")) == "confirmed"
    assert deployment.proxy.published == 2
    assert ids(deployment.take("jobs.bulk")) == ["one"]


def a_connection_cut_after(deployment, start):
    """a connection cut after the broker has it, before the confirm: sent again, one result
    任务到达之后、确认之前连接断开：重发，一个结果"""
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
    """a connection cut between two jobs: the next send connects anew
    两个任务之间连接断开：下次发送时重新连接"""
    driver = start()
    driver.send(job("one"))
    deployment.proxy.cut()
    driver.send(job("two"))
    assert ids(deployment.take("jobs.bulk")) == ["one", "two"]


def no_confirm_in_time(deployment, start):
    """no confirm in time is an error of its own, and a late one is not taken for the next job's
    限时内没有确认是单独的错误；迟到的确认不会算作下一个任务的"""
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


def a_send_is_cancelled(deployment, start):
    """a send that is cancelled ends at once, and a late confirm is not taken for the next job's
    取消的发送立即结束，其迟到的确认不会算作下一个任务的"""
    driver = start()
    deployment.proxy.next = "mute"
    asked = {"job": job("one"), "lane": "bulk", "timeout": PATIENCE, "cancel_after": 0.5}
    assert driver.fails("send", **asked) == "cancelled"
    deployment.proxy.next = "pass"
    assert driver.send(job("two")) == "confirmed"
    assert ids(deployment.take("jobs.bulk")) == ["one", "two"]


def a_connection_cut_in_its_handshake(deployment, start):
    """a connection cut in its handshake is not taken for wrong credentials
    握手时连接断开不会被当作凭据错误"""
    driver = start()
    deployment.proxy.next = "handshake"
    assert driver.send(job("one")) == "confirmed"
    deployment.proxy.next = "handshake"
    assert driver.events("first", 1, timeout=1) == []
    assert deployment.proxy.next == "pass"
    assert ids(deployment.take("jobs.bulk")) == ["one"]


def a_broker_that_is_silent(deployment, start):
    """a broker that says nothing as a connection is made: the call ends in time, or when it is cancelled
    建立连接时消息服务器没有回应：调用到时或取消即结束"""
    driver = start()
    send = {"job": job("one"), "lane": "bulk"}
    wait = {"job_id": "one", "from": "first"}
    deployment.proxy.swallows = START_OK
    assert driver.fails("send", **send, timeout=1) == "not-confirmed"
    assert driver.fails("wait", **wait, timeout=1) == "timed-out"
    deployment.proxy.swallows = CHANNEL_OPEN
    assert driver.fails("send", **send, timeout=1) == "not-confirmed"
    assert driver.fails("wait", **wait, timeout=1) == "timed-out"
    assert driver.fails("send", **send, timeout=2, cancel_after=0.5) == "cancelled"
    assert driver.fails("wait", **wait, timeout=2, cancel_after=0.5) == "cancelled"
    deployment.proxy.swallows = None
    assert driver.send(job("two")) == "confirmed"
    assert ids(deployment.take("jobs.bulk")) == ["two"]


def a_closed_client_says_so(deployment, start):
    """a client that was closed connects no more, and says so
    已关闭的客户端不再连接，并明确告知"""
    driver = start()
    driver.send(job("one"))
    assert driver.does("close") == driver.does("close") == "closed"
    connected = len(deployment.proxy.connections)
    assert driver.fails("send", job=job("two"), lane="bulk", timeout=PATIENCE) == "closed"
    assert driver.fails("send_and_wait", job=job("two"), timeout=PATIENCE) == "closed"
    assert driver.fails("wait", **{"from": "first"}, job_id="two", timeout=PATIENCE) == "closed"
    assert driver.fails("events", **{"from": "first"}, count=1, timeout=PATIENCE) == "closed"
    assert len(deployment.proxy.connections) == connected
    assert ids(deployment.take("jobs.bulk")) == ["one"]


def wrong_credentials_are_told(deployment, start):
    """a wrong password and an unknown virtual host are told
    密码错误、虚拟主机不存在会明确告知"""
    user, rest = deployment.url.split("@")
    for url in (f"{user}x@{rest}", f"{user}@{rest}x"):
        driver = start(BANSHI_URL=url)
        assert driver.fails("send", job=job("one"), lane="bulk", timeout=PATIENCE) == "refused"
        assert driver.fails("events", **{"from": "first"}, count=1, timeout=PATIENCE) == "refused"
    assert deployment.proxy.published == 0


def a_refusal_is_not_tried_again(deployment, start):
    """what the broker forbids is told at once
    消息服务器不允许的操作立即告知"""
    driver = start(BANSHI_PREFIX="nobody-has-this-prefix")
    assert driver.fails("send", job=job("one"), lane="bulk", timeout=PATIENCE) == "refused"
    assert driver.fails("events", **{"from": "first"}, count=1, timeout=PATIENCE) == "refused"
    assert deployment.proxy.published == 1


def a_job_completes(deployment, start):
    """send and wait: completed, with the PDF's place and digest, and warnings
    发送并等待：完成，有PDF的位置和摘要，以及提示"""
    deployment.work()
    said = start().wait_for(job("one"))
    [event] = published(deployment)
    assert said == {"outcome": "completed", "event": event["id"], "data": event["data"]}
    assert said["data"]["warnings"], "it has one"
    artifact = said["data"]["artifact"]
    pdf = Path(urllib.parse.unquote(urllib.parse.urlsplit(artifact["uri"]).path)).read_bytes()
    assert hashlib.sha256(pdf).hexdigest() == artifact["sha256"] and len(pdf) == artifact["bytes"]


def the_same_job_twice(deployment, start):
    """the same job twice: the same answer; its repeated event is read once
    同一任务两次：结果相同；重复的事件只读一次"""
    deployment.work()
    driver = start()
    assert driver.wait_for(job("one")) == driver.wait_for(job("one"))
    driver.wait_for(job("two"))
    assert [event["subject"] for event in published(deployment)] == ["one", "one", "two"]
    assert [event["job_id"] for event in driver.events("first", 2)] == ["one", "two"]


def a_job_is_rejected(deployment, start):
    """send and wait: rejected, with every problem's code, place and words in both languages
    发送并等待：退回，有每个问题的代码、位置和双语说明"""
    deployment.work()
    driver = start()
    bad = json.loads(job("bad", "jinhu-2023"))
    bad["data"]["requests"]["received"]["natural_person"] += 7
    said = driver.wait_for(json.dumps(bad))
    [event] = published(deployment)
    assert said == {"outcome": "rejected", "event": event["id"], "data": event["data"]}
    assert {"R-COLUMN", "R-REVIEW"} <= {problem["code"] for problem in said["data"]["problems"]}
    # The corrected job has the same id: the earlier answer is not taken for its own.
    assert driver.wait_for(job("bad"))["outcome"] == "completed"


def a_job_fails(deployment, start):
    """send and wait: failed, with the part, the attempts and the reason
    发送并等待：失败，有出错的部分、尝试次数和原因"""
    deployment.break_store()
    deployment.work()
    driver = start()
    said = driver.wait_for(job("one"))
    [event] = published(deployment)
    assert said == {"outcome": "failed", "event": event["id"], "data": event["data"]}
    assert said["data"]["error"]["code"] == "store"


def a_wait_goes_on_over_a_cut(deployment, start):
    """send and wait goes on when the connection is cut meanwhile
    等待期间连接断开，等待继续"""
    driver = start()
    driver.ask("send_and_wait", job=job("one"), timeout=PATIENCE)
    deployment.until("the job is there", lambda: deployment.ready("jobs.bulk") == 1)
    deployment.proxy.cut()
    deployment.work()
    assert driver.done()["outcome"] == "completed"


def a_wait_ends(deployment, start):
    """a wait ends in time, or when it is cancelled; the job stays
    等待到时或取消即结束；任务仍在"""
    driver = start()
    assert driver.fails("send_and_wait", job=job("one"), timeout=2) == "timed-out"
    assert driver.fails("send_and_wait", job=job("two"), timeout=PATIENCE, cancel_after=2) == "cancelled"
    assert ids(deployment.take("jobs.bulk")) == ["one", "two"]


def a_job_that_ended_before(deployment, start):
    """a job that ended before is found by its id, from the first event or a later one on
    早先已结束的任务可按编号查到结果，从头或从某一事件查起"""
    rejected, completed = event_of("two", "report.rejected"), event_of("two")
    for event in (event_of("one"), rejected, completed):
        deployment.tell(event, correlation_id=event["type"])
    driver = start()
    wait = {"job_id": "two", "timeout": PATIENCE}
    assert driver.does("wait", **{"from": "first"}, **wait)["event"] == rejected["id"]
    assert driver.does("wait", **{"from": 2}, **wait)["event"] == completed["id"]
    of_its = {"from": "first", "correlation_id": "report.completed"}
    assert driver.does("wait", **of_its, **wait)["event"] == completed["id"]
    assert driver.fails("wait", **{"from": "first"}, job_id="three", timeout=1) == "timed-out"
    wait |= {"job_id": "three", "from": "next", "cancel_after": 0.5}
    assert driver.fails("wait", **wait) == "cancelled"


def a_wait_passes_over_what_is_foreign(deployment, start):
    """a wait passes over what is no event of banshi, or of a later version
    等待时跳过不是banshi事件的消息和更新版本的事件"""
    later = event_of("one") | {"type": "report.postponed"}
    without = {name: value for name, value in event_of("one").items() if name != "data"}
    for body in (b"", b"no event", b"null", b"[7]", b'"job_id"', json.dumps(without).encode()):
        for kind in ("text/plain", "application/cloudevents+json"):
            properties = pika.BasicProperties(content_type=kind)
            deployment.channel.basic_publish(deployment.name("events"), "x", body, properties)
    deployment.tell(later)
    deployment.tell(later, binary=True)
    event = event_of("one")
    deployment.tell(event)
    driver = start()
    wait = {"from": "first", "job_id": "one", "timeout": PATIENCE}
    assert driver.does("wait", **wait)["event"] == event["id"]


def an_empty_correlation_id_is_none(deployment, start):
    """an empty correlation id is none: send and wait makes one, a wait takes any
    空的correlation id等于没有：发送并等待时另造一个，等待时不限"""
    driver, event = start(), event_of("one")
    driver.ask("send_and_wait", job=job("one"), correlation_id="", timeout=PATIENCE)
    deployment.until("the job is there", lambda: deployment.ready("jobs.bulk") == 1)
    [(properties, _)] = deployment.take("jobs.bulk")
    deployment.tell(event, correlation_id=properties.correlation_id)
    assert properties.correlation_id
    assert driver.done()["event"] == event["id"]
    wait = {"from": "first", "job_id": "one", "correlation_id": "", "timeout": PATIENCE}
    assert driver.does("wait", **wait)["event"] == event["id"]


def events_are_as_stated(deployment, start):
    """events have every field of the schemas, in both modes; what is unknown is passed over, a repeat read once
    事件含schema的全部字段，两种模式相同；未知内容忽略，重复的只读一次"""
    told = []
    for kind in ("report.completed", "report.rejected", "report.failed"):
        for whole in (True, False):
            for binary in (False, True):
                told.append(event_of("one", kind, whole, more=True))
                deployment.tell(told[-1], binary)
    deployment.tell(told[0], binary=True)
    told.append(event_of("two"))
    deployment.tell(told[-1])
    driver = start()
    found = driver.events("first", len(told))
    assert [event.pop("offset") for event in found] == [*range(12), 13]
    for event, said in zip(told, found, strict=True):
        event["data"].pop("more", None)
        assert said == {
            "outcome": event["type"].split(".")[1], "event": event["id"], "data": event["data"],
            "id": event["id"], "source": event["source"], "type": event["type"], "job_id": event.get("subject"),
        }
    later = event_of("three") | {"type": "report.postponed"}
    deployment.tell(later)
    deployment.channel.basic_publish(deployment.name("events"), "x", b"no event")
    deployment.tell(event_of("four"))
    for offset in (14, 15):
        assert driver.fails("events", **{"from": offset}, count=1, timeout=PATIENCE) == "unknown-event"
    assert [event["job_id"] for event in driver.events(16, 1)] == ["four"]


def events_are_read_from_an_offset(deployment, start):
    """events from an offset, the first, and only new ones; a quiet log ends in time
    从某一位置、从头或只读新事件；没有事件时按时结束"""
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
    """events go on where they were when the connection is cut: none lost, none twice
    连接断开后从原处继续读事件：不漏，不重"""
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
    """only new events, and the connection is cut before there is any: none is lost
    只读新事件，尚无事件时连接断开：一个不漏"""
    driver = start()
    driver.ask("events", **{"from": "next"}, count=2, timeout=PATIENCE)
    deployment.until("it listens", lambda: deployment.proxy.consuming == 1)
    deployment.proxy.close()
    for name in ("one", "two"):
        deployment.banshi_sends(name)
    deployment.proxy.open()
    assert [event["job_id"] for event in driver.done()] == ["one", "two"]


def an_outbox_survives(deployment, start):
    """a sender killed with jobs in its outbox: all are sent, in order, by the next; none is left
    发件箱中有任务时发送方被杀：下次全部按序发出，一个不剩"""
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
    """an outbox keeps what was not confirmed, and keeps each job's lane
    发件箱保留未确认的任务，并保留其通道"""
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


def a_broker_that_is_trusted(deployment, start):
    """over TLS: a broker with a certificate that is trusted, and no other
    经TLS：只与证书受信任的消息服务器通信"""
    url = f"amqps://guest:guest@127.0.0.1:{Node.TLS}/%2f"
    trusted = {"BANSHI_CA": str(NODE.folder / "ca.pem")}
    driver = start(BANSHI_URL=url, **trusted)
    assert driver.send(job("one")) == "confirmed"
    assert ids(deployment.take("jobs.bulk")) == ["one"]
    deployment.tell(event_of("one"))
    assert [event["job_id"] for event in driver.events("first", 1)] == ["one"]
    # Signed by nobody whom we know, and for another host's name.
    for driver in (start(BANSHI_URL=url), start(BANSHI_URL=url.replace("127.0.0.1", "localhost"), **trusted)):
        assert driver.fails("send", job=job("one"), lane="bulk", timeout=PATIENCE) == "refused"
        assert driver.fails("events", **{"from": "first"}, count=1, timeout=PATIENCE) == "refused"


def the_broker_restarts(deployment, start):
    """the broker is restarted while jobs are sent: all are there, in order
    发送过程中消息服务器重启：任务全部到达，顺序不变"""
    driver, sent, begun, restarted = start(), [], threading.Event(), threading.Event()

    def send():
        more = 20  # after the restart
        while more:
            more -= restarted.is_set()
            name = f"j{len(sent)}"
            driver.send(json.dumps({"job_id": name}), timeout=PATIENCE)
            sent.append(name)
            if len(sent) == 20:
                begun.set()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        try:
            assert begun.wait(PATIENCE)
            RESTART.wait(PATIENCE)  # every client sends now; then one of us restarts it
        finally:
            restarted.set()
        sending.result()
    deployment.connect()
    found = ids(deployment.take("jobs.bulk"))
    assert list(dict.fromkeys(found)) == sent


#: What needs a broker of its own.
SLOW = [a_broker_that_is_trusted, the_broker_restarts]

PROMISES = [
    a_job_is_confirmed, what_goes_with_a_job, a_full_lane_is_told, a_lane_without_a_queue_is_told, what_is_no_job_is_not_sent,
    a_connection_cut_before, a_connection_cut_after, a_connection_cut_between, no_confirm_in_time,
    a_send_is_cancelled, a_connection_cut_in_its_handshake, a_broker_that_is_silent, a_closed_client_says_so,
    wrong_credentials_are_told,
    a_refusal_is_not_tried_again, a_job_completes, the_same_job_twice, a_job_is_rejected, a_job_fails,
    a_wait_goes_on_over_a_cut, a_wait_ends, a_job_that_ended_before, a_wait_passes_over_what_is_foreign,
    an_empty_correlation_id_is_none, events_are_as_stated, events_are_read_from_an_offset, events_go_on_over_a_cut,
    only_new_events_go_on_over_a_cut, an_outbox_survives, an_outbox_keeps_what_is_refused, *SLOW,
]


def keeps(promise, client, command):
    deployment = Deployment(client, NODE.start().url if promise in SLOW else BROKER)
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


def row(promise, cells, chinese=False):
    said = promise.__doc__.splitlines()[chinese].strip()
    return "| " + " | ".join([said, *cells]) + " |\n"


def table(kept, chinese=False):
    """The table, of promises with what each client makes of them."""
    head = ["承诺" if chinese else "promise", *CLIENTS]
    rows = "".join(row(promise, cells, chinese) for promise, cells in kept)
    return "| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|\n" + rows


def docs(kept):
    """Whether docs/clients.md has this table, in both languages; with UPDATE=1 it is written there."""
    same = True
    for name, chinese in (("docs/clients.md", False), ("docs/zh/clients.md", True)):
        text = (ROOT / name).read_text("utf-8")
        made = re.sub(r"\| .*\n\|---.*\n(\|.*\n)+", lambda _: table(kept, chinese), text, count=1)
        if os.environ.get("UPDATE"):
            made = re.sub(r"RabbitMQ 3\.[^:：。]*amqp091-go [0-9.]+[0-9]", versions(), made)
            (ROOT / name).write_text(made, "utf-8")
        elif made != text:
            print(f"{name} has another table; UPDATE=1 writes it anew", file=sys.stderr)
            same = False
    return same


def main():
    global RESTART
    quick = "--quick" in sys.argv
    chosen = [it for it in sys.argv[1:] if it != "--quick"] or list(CLIENTS)
    only = os.environ.get("PROMISE", "").split()
    promises = [promise for promise in PROMISES if not only or promise.__name__ in only]
    if quick or NODE.script is None:
        promises = [promise for promise in promises if promise not in SLOW]
    commands = {client: CLIENTS[client]() for client in chosen}
    RESTART = threading.Barrier(len(chosen), lambda: NODE.tool("restart"))
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            rows = [
                (promise, [pool.submit(keeps, promise, client, commands[client]) for client in chosen])
                for promise in promises
            ]
    finally:
        NODE.stop()
    kept = {promise: {client: it.result() for client, it in zip(chosen, every)} for promise, every in rows}
    for promise, clients in kept.items():
        print(row(promise, [client if yes else f"NOT {client}" for client, yes in clients.items()]), end="")
    every = [yes for clients in kept.values() for yes in clients.values()]
    print(f"\n{every.count(True)} passed, {every.count(False)} failed, with {versions()}")
    # What was not run has been before.
    cells = lambda promise: ["yes" if kept.get(promise, {}).get(client, True) else "NO" for client in CLIENTS]
    same = docs([(promise, cells(promise)) for promise in PROMISES])
    sys.exit(0 if every and all(every) and same else 1)


main()
