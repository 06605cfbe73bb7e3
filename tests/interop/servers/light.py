#!/usr/bin/env python3
"""A legacy Streamable HTTP server without an SDK, for thousands of sessions that do nothing: it keeps a set of ids, and a
journal with the time of every handshake. Its tools are `echo` and `announce`, which notifies on the session's GET stream."""

import argparse
import asyncio
import json
import time
import uuid

from modern import event, read_request, whole

VERSION = "2025-11-25"
CAPABILITIES = {"tools": {}, "logging": {}}
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "announce")]
NOT_FOUND = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'
STREAM = b"HTTP/1.1 200 -\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    def __init__(self, name, log):
        self._name, self._log = name, open(log, "a", buffering=1)
        # Session -> the writer of its GET stream, if there is one.
        self.sessions = {}

    def note(self, **facts):
        self._log.write(json.dumps({"server": self._name, **facts}) + "\n")

    def create(self, params):
        session = uuid.uuid4().hex
        self.sessions[session] = None
        # Health checks shake hands too.
        client = params.get("clientInfo", {}).get("name")
        self.note(event="created", session=session, client=client, time=time.time())
        result = {"protocolVersion": VERSION, "capabilities": CAPABILITIES, "serverInfo": {"name": "light", "version": "1"}}
        return session, result

    async def call(self, session, params):
        call = params["arguments"]["call"]
        self.note(tool=params["name"], call=call, session=session)
        if params["name"] == "announce" and (stream := self.sessions[session]):
            await send(stream, {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": call}})
        return {"content": [{"type": "text", "text": call}]}

    async def answer(self, session, method, params):
        if method == "tools/call":
            return await self.call(session, params)
        return {"tools": TOOLS} if method == "tools/list" else {}


async def send(writer, message):
    payload = event(message)
    writer.write(f"{len(payload):x}\r\n".encode() + payload + b"\r\n")
    await writer.drain()


class Connection:
    def __init__(self, server, reader, writer):
        self._server, self._reader, self._writer = server, reader, writer

    async def serve(self):
        try:
            while request := await read_request(self._reader):
                await self._answer(*request)
        except ConnectionError:
            pass
        finally:
            self._writer.close()

    async def _answer(self, verb, headers, body):
        server, write = self._server, self._writer.write
        session = headers.get("mcp-session-id", [None])[0]
        message = json.loads(body) if verb == "POST" else {}
        method, params = message.get("method"), message.get("params") or {}
        if method == "initialize":
            session, result = server.create(params)
            payload = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
            write(whole(200, payload).replace(b"\r\n", b"\r\nMcp-Session-Id: " + session.encode() + b"\r\n", 1))
        elif session not in server.sessions:
            write(whole(404, NOT_FOUND))
        elif verb == "GET":
            await self._stream(session)
        elif verb == "DELETE":
            del server.sessions[session]
            server.note(event="deleted", session=session)
            write(whole(200, b""))
        elif "id" not in message or method is None:
            write(whole(202, b""))
        else:
            result = await server.answer(session, method, params)
            write(whole(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()))

    async def _stream(self, session):
        self._server.sessions[session] = self._writer
        self._server.note(event="listening", session=session)
        self._writer.write(STREAM)
        # Nothing comes on it any more but its end.
        await self._reader.read(1)
        if self._server.sessions.get(session) is self._writer:
            self._server.sessions[session] = None
        raise ConnectionResetError("the client has left")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", required=True)
    args = parser.parse_args()
    server = Server(args.name, args.log)
    listener = await asyncio.start_server(
        lambda reader, writer: Connection(server, reader, writer).serve(), "127.0.0.1", args.port, backlog=512
    )
    await listener.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
