"""HTTP/1.1 as bytes over one keep-alive socket: a client library's work would be counted in."""

import socket

JSON = b"Content-Type: application/json\r\n"


def head(method: str, path: str, key: str | None = None) -> bytes:
    """Everything before the length, which only the last moment knows."""
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}".encode() + JSON


def message(top: bytes, body: bytes = b"") -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (top, len(body), body)


class AnswerUnreadable(Exception):
    """The server closed in the middle of an answer, or framed it in a way not spoken here."""


class Connection:
    """Sends block (requests are far smaller than the socket's buffer), receives never do."""

    __slots__ = ("_buffer", "_port", "_wanted", "socket")

    def __init__(self, port: int) -> None:
        self._port = port
        self._buffer = b""
        self._wanted = 0
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(None)
        return connected

    def reconnect(self) -> None:
        self.socket.close()
        self._buffer = b""
        self._wanted = 0
        self.socket = self._connect()

    def send(self, request: bytes) -> None:
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """A whole answer, or None while part of it is under way. Call when readable."""
        part = self.socket.recv(262_144)
        if not part:
            raise AnswerUnreadable("the server closed the connection")
        buffer = self._buffer + part if self._buffer else part
        if not self._wanted:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = buffer
                return None
            self._wanted = end + 4 + _length(buffer[:end])
        if len(buffer) < self._wanted:
            self._buffer = buffer
            return None
        body = buffer[buffer.index(b"\r\n\r\n") + 4 : self._wanted]
        self._buffer = buffer[self._wanted :]
        self._wanted = 0
        return int(buffer[9:12]), body

    def close(self) -> None:
        self.socket.close()


def _length(top: bytes) -> int:
    if top[9:12] in (b"204", b"304"):
        return 0
    lowered = top.lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at < 0:
        raise AnswerUnreadable(f"no Content-Length in: {top[:200]!r}")
    line_end = lowered.find(b"\r\n", at + 2)
    return int(lowered[at + 17 : line_end if line_end > 0 else None])
