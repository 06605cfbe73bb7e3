"""A legacy MCP session on the bare wire."""

import asyncio
import json

from .wire import Connection, Gone

PATH = "/mcp"
VERSION = "2025-11-25"
INITIALIZE = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "march", "version": "1"},
}


class Refused(Exception):
    """An answer, but not the one that was due."""


def messages(content_type, body):
    """The JSON-RPC messages in a JSON or an SSE body."""
    if content_type.startswith("application/json"):
        return [json.loads(body)]
    lines = body.decode().splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data:") and line[5:].strip()]


class Session:
    def __init__(self, number, path=PATH):
        self.number, self.path = number, path
        self.id = None
        self.calls = []

    def _headers(self):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.id:
            headers |= {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": VERSION}
        return headers

    async def _post(self, connection, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        status, headers, answer = await connection.exchange("POST", self.path, self._headers(), body)
        if status not in (200, 202):
            raise Refused(f"{message['method']}: {status} {answer[:200]!r}")
        return headers, answer

    async def _request(self, connection, method, params):
        number = len(self.calls) + 1
        headers, body = await self._post(connection, {"id": number, "method": method, "params": params})
        for message in messages(headers.get("content-type", ""), body):
            if message.get("id") == number and "result" in message and not message["result"].get("isError"):
                return headers, message["result"]
        raise Refused(f"{method}: {body[:200]!r}")

    async def open(self, connection):
        headers, _ = await self._request(connection, "initialize", INITIALIZE)
        self.id = headers["mcp-session-id"]
        await self._post(connection, {"method": "notifications/initialized"})

    async def call(self, connection, tool="echo"):
        call = f"{self.number}-{len(self.calls)}"
        self.calls.append(call)
        arguments = {"call": call} if tool != "echo" else {"call": call, "text": call}
        await self._request(connection, "tools/call", {"name": tool, "arguments": arguments})
        return call


class EventStream:
    """The standalone GET stream of a session, read until it is closed; `broken` says how it ended if by itself."""

    def __init__(self, port, session):
        self.session = session
        self.broken = None
        self._connection = Connection(port)
        self._seen = ""
        self._news = asyncio.Event()

    async def open(self):
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": self.session.id, "MCP-Protocol-Version": VERSION}
        status, _, chunks = await self._connection.send("GET", self.session.path, headers)
        if status != 200:
            raise Refused(f"GET stream: {status}")
        self._task = asyncio.create_task(self._read(chunks))

    async def _read(self, chunks):
        try:
            async for chunk in chunks:
                self._seen += chunk.decode()
                self._news.set()
            self.broken = "ended"
        except Gone as problem:
            self.broken = str(problem)
        self._news.set()

    async def wait_for(self, text, timeout=5):
        async with asyncio.timeout(timeout):
            while text not in self._seen and not self.broken:
                self._news.clear()
                await self._news.wait()
        if self.broken:
            raise Gone(self.broken)

    async def close(self):
        self._task.cancel()
        self._connection.close()
