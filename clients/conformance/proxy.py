"""A TCP proxy before the broker that knows AMQP 0-9-1's frames, and breaks connections where it is
told to. It changes no byte of what it lets through."""

import socket
import struct
import threading

START_OK = (10, 11)
PUBLISH = (60, 40)
CONSUME_OK = (60, 21)
CHANNEL_OPEN = (20, 10)
DELIVER = (60, 60)
ACK = (60, 80)


class Proxy:
    """`next` is what happens to the next job: `pass`, `lose` (the connection is cut before the broker
    has it), `cut` (the connection is cut when the broker has it, before the confirm comes back),
    `mute` (confirms come back late, when `next` is something else, before what follows them) or `handshake`
    (the next connection is cut as it is made). `cut` needs `has_it`, which waits until the broker has
    the job. `swallows` is what method, if any, the broker never gets, nor what comes after it on its
    connection."""

    def __init__(self, host, port):
        self.broker = (host, port)
        self.next = "pass"
        self.swallows = None
        self.has_it = None
        self.published = 0
        self.delivered = 0
        self.consuming = 0
        self.connections = []
        self.port = 0
        self.open()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # it is closed
                return
            try:
                broker = socket.create_connection(self.broker)
            except OSError:  # it is gone
                client.close()
                continue
            connection = Connection(self, client, broker)
            self.connections.append(connection)
            for run in (connection.upstream, connection.downstream):
                threading.Thread(target=run, daemon=True).start()

    def cut(self):
        """Every connection, now."""
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.cut()

    def close(self):
        if self.listener.fileno() != -1:
            self.listener.shutdown(socket.SHUT_RDWR)  # or the accept that waits takes one more
            self.listener.close()
        self.cut()


class Connection:
    def __init__(self, proxy, client, broker):
        self.proxy, self.client, self.broker = proxy, client, broker
        self.held = False
        self.swallowed = False

    def cut(self):
        for end in (self.client, self.broker):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is cut already
                pass
            end.close()

    def upstream(self):
        try:
            self.broker.sendall(read(self.client, 8))  # "AMQP0091"
            while True:
                frame, method = read_frame(self.client)
                self.swallowed |= method is not None and method == self.proxy.swallows
                if self.swallowed:
                    continue
                if method == START_OK and self.proxy.next == "handshake":
                    self.proxy.next = "pass"
                    return self.cut()
                if method == PUBLISH:
                    self.proxy.published += 1
                    if self.proxy.next == "lose":
                        self.proxy.next = "pass"
                        return self.cut()
                    if self.proxy.next == "cut":
                        self.proxy.next = "pass"
                        self.held = True
                        threading.Thread(target=self.cut_when_it_has_it, daemon=True).start()
                self.broker.sendall(frame)
        except OSError:
            self.cut()

    def cut_when_it_has_it(self):
        self.proxy.has_it()
        self.cut()

    def downstream(self):
        late = b""
        try:
            while True:
                frame, method = read_frame(self.broker)
                if method == ACK and self.proxy.next == "mute":
                    late += frame
                elif not self.held:
                    self.client.sendall(late + frame)
                    late = b""
                    self.proxy.delivered += method == DELIVER
                    self.proxy.consuming += method == CONSUME_OK
        except OSError:
            self.cut()


def read(end, size):
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def read_frame(end):
    """A frame's bytes, and class and method if it is a method's."""
    head = read(end, 7)
    kind, _, size = struct.unpack(">BHI", head)
    rest = read(end, size + 1)
    return head + rest, struct.unpack(">HH", rest[:4]) if kind == 1 else None
