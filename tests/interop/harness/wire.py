"""HTTP/1.1 by hand: what goes over the wire in march.py is what is written here, with no library's retries in between."""

import asyncio

TIMEOUT = 15


class Gone(Exception):
    """The peer closed the connection, or it never opened."""


async def read_head(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as problem:
        raise Gone(f"no answer: {problem!r}") from problem
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return int(first.split()[1]), headers


async def body_chunks(reader, headers):
    """Yields the body as it comes; raises `Gone` when the connection ends before the body does."""
    try:
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readuntil(b"\r\n")
        elif "content-length" in headers:
            yield await reader.readexactly(int(headers["content-length"]))
        elif headers.get("connection") == "close":
            while chunk := await reader.read(65536):
                yield chunk
    except (asyncio.IncompleteReadError, ConnectionError) as problem:
        raise Gone(f"the answer broke off: {problem!r}") from problem


class Connection:
    """One keep-alive connection; a request goes out once and is never repeated."""

    def __init__(self, port):
        self._port = port
        self._reader = self._writer = None

    async def _open(self):
        # A connection the peer closed while it was idle is replaced before anything is sent on it.
        if self._writer and not self._reader.at_eof():
            return
        self.close()
        try:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as problem:
            raise Gone(f"no connection: {problem}") from problem

    async def send(self, method, path, headers, body=b""):
        """Returns status, headers and the iterator of the body."""
        await self._open()
        headers = {"Host": f"127.0.0.1:{self._port}", "Content-Length": str(len(body)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body)
        status, answer = await read_head(self._reader)
        return status, answer, body_chunks(self._reader, answer)

    async def exchange(self, method, path, headers, body=b""):
        """One whole request and answer."""
        try:
            async with asyncio.timeout(TIMEOUT):
                status, answer, chunks = await self.send(method, path, headers, body)
                whole = b"".join([chunk async for chunk in chunks])
        except BaseException:
            self.close()
            raise
        if answer.get("connection") == "close":
            self.close()
        return status, answer, whole

    def close(self):
        if self._writer:
            self._writer.close()
        self._reader = self._writer = None
