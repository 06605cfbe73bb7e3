#!/usr/bin/env python3
"""A 2026-07-28 server without an SDK, strict where the specification is, for what no SDK's server implements: tasks.

Everything it hands out (cursors, `requestState`, task ids) is worth something in this process only, so a request that
reaches the wrong process is refused. What differs between versions is the name of the tool `look-NAME`.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import secrets
import time

VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
TASKS = META + "tasks"
NAMED = {
    "tools/call": "name", "prompts/get": "name", "resources/read": "uri",
    "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
}
PAGES, PER_PAGE = 3, 3
TASK_SECONDS = 0.25
TICK = 0.2
# Every so manyth answer of one message is given as an event stream, as servers may.
AS_STREAM = 3

PARSE, INVALID, UNKNOWN_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, CAPABILITY_MISSING, UNSUPPORTED_VERSION = -32020, -32021, -32022


class Refused(Exception):
    def __init__(self, code, message, status=200, data=None):
        super().__init__(message)
        self.status = status
        self.error = {"code": code, "message": message, **({"data": data} if data else {})}


def decoded(value):
    """A header's text: the base64 form stands for what is not plain ASCII."""
    if value.startswith("=?base64?") and value.endswith("?="):
        return base64.b64decode(value[9:-2]).decode()
    return value


def check_envelope(headers, message):
    """`headers`: name -> all its values. The specification's rules for what vouches for the body."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise Refused(INVALID, "not a request", 400)
    method, params = message["method"], message.get("params") or {}
    meta = params.get("_meta") or {}
    told = {"mcp-protocol-version": meta.get(META + "protocolVersion"), "mcp-method": method}
    if method in NAMED:
        told["mcp-name"] = params.get(NAMED[method])
    if told["mcp-protocol-version"] is None or META + "clientCapabilities" not in meta:
        # What a client of the handshake sends: it is told what is spoken here.
        if "mcp-protocol-version" not in headers or method == "initialize":
            raise Refused(UNSUPPORTED_VERSION, "no handshake here", 400, {"supported": [VERSION]})
        raise Refused(BAD_PARAMS, "_meta lacks protocolVersion or clientCapabilities", 400)
    for name, wanted in told.items():
        values = headers.get(name, [])
        if len(values) != 1 or decoded(values[0]) != wanted:
            raise Refused(HEADER_MISMATCH, f"{name} is {values}, the body says {wanted!r}", 400)
    if told["mcp-protocol-version"] != VERSION:
        raise Refused(UNSUPPORTED_VERSION, "unsupported version", 400, {"supported": [VERSION]})
    return method, params, meta


class Server:
    def __init__(self, name):
        self.name = name
        self._key = secrets.token_bytes(16)
        self._tasks = {}
        self._answers = itertools.count()

    def _seal(self, text):
        mark = hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:24]
        return f"{text}.{mark}"

    def _open(self, sealed, what):
        text, _, _ = sealed.rpartition(".")
        if not hmac.compare_digest(self._seal(text), sealed):
            raise Refused(BAD_PARAMS, f"Invalid or expired {what}")
        return text

    def answer(self, method, params, meta):
        """The result of a request; `subscriptions/listen` is answered elsewhere."""
        handler = {
            "server/discover": self._discover,
            "tools/list": self._list,
            "tools/call": self._call,
            "tasks/get": self._task_get,
            "tasks/update": self._task_update,
            "tasks/cancel": self._task_cancel,
        }.get(method)
        if handler is None:
            raise Refused(UNKNOWN_METHOD, f"unknown method {method}", 404)
        result = handler(params, meta)
        return {"resultType": "complete", **result, "_meta": {META + "serverInfo": {"name": self.name, "version": "1"}}}

    def _discover(self, _params, _meta):
        capabilities = {"tools": {"listChanged": True}, "extensions": {TASKS: {}}}
        return {"supportedVersions": [VERSION], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "public"}

    def _list(self, params, _meta):
        page = int(self._open(params["cursor"], "cursor")) if "cursor" in params else 0
        names = [f"page-{page}-{number}" for number in range(PER_PAGE)]
        if page == PAGES - 1:
            names += ["ask", "job", f"look-{self.name}"]
        more = {"nextCursor": self._seal(str(page + 1))} if page < PAGES - 1 else {}
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
        return {"tools": tools, **more, "ttlMs": 0, "cacheScope": "private"}

    def _call(self, params, meta):
        name, arguments = params["name"], params.get("arguments") or {}
        if name == f"look-{self.name}":
            return self._said(arguments.get("text", ""))
        if name == "ask":
            return self._ask(params, arguments)
        if name == "job":
            return self._job(arguments, meta)
        raise Refused(BAD_PARAMS, f"Unknown tool: {name}")

    def _said(self, text):
        return {"content": [{"type": "text", "text": text}], "structuredContent": {"server": self.name}}

    def _ask(self, params, arguments):
        if "requestState" not in params:
            question = {"message": "sure?", "requestedSchema": {"type": "object", "properties": {}}}
            asked = {"answer": {"method": "elicitation/create", "params": question}}
            state = self._seal(arguments["text"])
            return {"resultType": "input_required", "inputRequests": asked, "requestState": state}
        text = self._open(params["requestState"], "requestState")
        if "answer" not in params.get("inputResponses", {}):
            raise Refused(BAD_PARAMS, "no answer among the input responses")
        return self._said(text)

    def _job(self, arguments, meta):
        if TASKS not in (meta[META + "clientCapabilities"].get("extensions") or {}):
            raise Refused(CAPABILITY_MISSING, f"the client has not declared {TASKS}", 400)
        task = secrets.token_urlsafe(12)
        self._tasks[task] = {"text": arguments["text"], "done": time.monotonic() + TASK_SECONDS, "status": "working"}
        return {"resultType": "task", **self._task(task)}

    def _task(self, task):
        facts = self._tasks.get(task)
        if facts is None:
            raise Refused(BAD_PARAMS, f"Unknown task: {task}")
        if facts["status"] == "working" and time.monotonic() >= facts["done"]:
            facts["status"] = "completed"
        stamp = "2026-11-20T00:00:00Z"
        told = {"taskId": task, "status": facts["status"], "createdAt": stamp, "lastUpdatedAt": stamp, "ttlMs": 60000}
        if facts["status"] == "completed":
            told["result"] = self._said(facts["text"])
        return {**told, "pollIntervalMs": int(TICK * 1000)}

    def _task_get(self, params, _meta):
        return self._task(params["taskId"])

    def _task_update(self, params, _meta):
        self._task(params["taskId"])
        return {}

    def _task_cancel(self, params, _meta):
        if self._task(params["taskId"])["status"] == "working":
            self._tasks[params["taskId"]]["status"] = "cancelled"
        return {}

    async def listen(self, identity, params, write):
        """Acknowledges, then tells of tools and of the tasks asked for, until the client leaves."""
        wanted = params.get("notifications") or {}
        tasks = wanted.get("taskIds") or []
        told = {task: None for task in tasks}
        for task in tasks:
            self._task(task)

        async def notify(method, rest):
            stamped = {**rest, "_meta": {META + "subscriptionId": identity}}
            await write({"jsonrpc": "2.0", "method": f"notifications/{method}", "params": stamped})

        await notify("subscriptions/acknowledged", {"notifications": wanted})
        while True:
            await asyncio.sleep(TICK)
            if wanted.get("toolsListChanged"):
                await notify("tools/list_changed", {})
            for task in tasks:
                now = self._task(task)
                if now["status"] != told[task]:
                    told[task] = now["status"]
                    await notify("tasks", now)


async def read_request(reader):
    """Method, headers and body; None when the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for name, _, value in (line.partition(":") for line in lines if line):
            headers.setdefault(name.lower(), []).append(value.strip())
        if headers.get("transfer-encoding") == ["chunked"]:
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(headers.get("content-length", ["0"])[0]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return first.split()[0], headers, body


def whole(status, payload, kind="application/json"):
    head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def event(message):
    return b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n"


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
        if verb != "POST":
            self._writer.write(b"HTTP/1.1 405 -\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n")
            return
        identity = None
        try:
            message = json.loads(body)
            identity = message.get("id") if isinstance(message, dict) else None
            method, params, meta = check_envelope(headers, message)
            if identity is None:
                self._writer.write(b"HTTP/1.1 202 -\r\nContent-Length: 0\r\n\r\n")
            elif method == "subscriptions/listen":
                await self._stream(identity, params)
            else:
                self._give(identity, self._server.answer(method, params, meta))
        except json.JSONDecodeError as problem:
            self._refuse(identity, Refused(PARSE, str(problem), 400))
        except Refused as refusal:
            self._refuse(identity, refusal)

    def _give(self, identity, result):
        answer = {"jsonrpc": "2.0", "id": identity, "result": result}
        if next(self._server._answers) % AS_STREAM:
            self._writer.write(whole(200, json.dumps(answer).encode()))
        else:
            self._writer.write(whole(200, b": first\n\n" + event(answer), "text/event-stream"))

    def _refuse(self, identity, refusal):
        answer = {"jsonrpc": "2.0", "id": identity, "error": refusal.error}
        self._writer.write(whole(refusal.status, json.dumps(answer).encode()))

    async def _stream(self, identity, params):
        """Ended by the client's leaving, which is all that a read can bring here."""
        begun = False

        async def write(message):
            nonlocal begun
            if not begun:
                self._writer.write(b"HTTP/1.1 200 -\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                begun = True
            payload = event(message)
            self._writer.write(f"{len(payload):x}\r\n".encode() + payload + b"\r\n")
            await self._writer.drain()

        listening = asyncio.create_task(self._server.listen(identity, params, write))
        leaving = asyncio.create_task(self._reader.read(1))
        await asyncio.wait((listening, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        listening.cancel()
        if listening.done() and not listening.cancelled() and listening.exception():
            raise listening.exception()
        raise ConnectionResetError("the client has left")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    args = parser.parse_args()
    server = Server(args.name)
    listener = await asyncio.start_server(
        lambda reader, writer: Connection(server, reader, writer).serve(), "127.0.0.1", args.port, backlog=512
    )
    await listener.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
