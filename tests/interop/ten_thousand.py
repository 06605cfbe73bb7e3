#!/usr/bin/env python3
"""Ten thousand sequences of 2026-07-28 requests that belong together, while the split steps under them: how many of
their requests land on the wrong side. It must be none.

A sequence is one of: a list in pages and a call of what was listed; a call that asks back and is repeated with its
`requestState`; a task that is polled, updated, cancelled; a stream that listens to a task. Both servers refuse what the
other one handed out. `--direct-roundrobin` leaves the proxy out and takes the servers in turn, and
passes when each kind of sequence is found to go wrong.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from harness.gate import Gate, Stepper
from harness.install import HERE, WORK
from harness.procs import Process, accepts, free_ports, unwind_on_terminate
from harness.report import say, to_its_end
from harness.session import messages
from harness.wire import Connection, Gone

PATH = "/mcp"
VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
CAPABILITIES = {"elicitation": {}, "extensions": {META + "tasks": {}}}
STEPS = ("90:10", "50:50", "0:100", "100:0")
STEP_INTERVAL = 0.12
# Between the requests of a sequence: long enough for a step or two, far shorter than a list may be relied on.
PAUSE = 0.15
EVENT_TIMEOUT = 5
NAMED = {"tools/call": "name", "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"}


class Wrong(Exception):
    """The other server answered."""


class Client:
    """One client with a key of its own, and one connection per server it knows of (behind the proxy: one)."""

    def __init__(self, number, ports):
        self.key = f"client-{number}"
        self.homes = Counter()
        self._ports = ports
        self._connections = [Connection(port) for port in ports]
        self._sent = number

    def _request(self, method, params):
        self._sent += 1
        meta = {META + "protocolVersion": VERSION, META + "clientCapabilities": CAPABILITIES}
        body = {"jsonrpc": "2.0", "id": self._sent, "method": method, "params": {**params, "_meta": meta}}
        headers = {
            "Content-Type": "application/json", "Accept": "application/json, text/event-stream", "X-API-Key": self.key,
            "MCP-Protocol-Version": VERSION, "Mcp-Method": method,
        }
        if method in NAMED:
            headers["Mcp-Name"] = params[NAMED[method]]
        return headers, json.dumps(body).encode()

    async def ask(self, method, params):
        """The result; an error that one of two servers would not have made is `Wrong`."""
        headers, body = self._request(method, params)
        connection = self._connections[self._sent % len(self._connections)]
        status, answer, content = await connection.exchange("POST", PATH, headers, body)
        for message in messages(answer.get("content-type", ""), content):
            if message.get("id") == self._sent:
                return self._result(method, message)
        raise Gone(f"{method}: {status} {content[:200]!r}")

    def _result(self, method, message):
        if "error" in message:
            raise Wrong(f"{method}: {message['error']['message']}")
        server = message["result"]["_meta"][META + "serverInfo"]["name"]
        self.homes[server] += 1
        return {**message["result"], "server": server}

    async def listen(self, wanted):
        """Yields notifications of a stream."""
        headers, body = self._request("subscriptions/listen", {"notifications": wanted})
        connection = Connection(self._ports[self._sent % len(self._ports)])
        try:
            status, answer, chunks = await connection.send("POST", PATH, headers, body)
            if answer["content-type"].startswith("application/json"):
                refusal = b"".join([chunk async for chunk in chunks])
                raise Wrong(f"listen: {status} {refusal[:200]!r}")
            text = ""
            async for chunk in chunks:
                text += chunk.decode()
                *done, text = text.split("\n\n")
                for one in messages(answer["content-type"], "\n\n".join(done).encode()):
                    yield one
            raise Gone("the stream ended")
        finally:
            connection.close()


async def pause():
    await asyncio.sleep(random.uniform(0, 2 * PAUSE))


async def list_then_call(client, text):
    names, cursor, server = [], {}, None
    while True:
        page = await client.ask("tools/list", cursor)
        if server not in (None, page["server"]):
            raise Wrong("a page of the other server's list")
        server = page["server"]
        names += [tool["name"] for tool in page["tools"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
        await pause()
    look = next(name for name in names if name.startswith("look-"))
    await pause()
    result = await client.ask("tools/call", {"name": look, "arguments": {"text": text}})
    expect(result, text)


async def ask_back(client, text):
    call = {"name": "ask", "arguments": {"text": text}}
    asked = await client.ask("tools/call", call)
    if asked["resultType"] != "input_required":
        raise Gone(f"nothing was asked: {asked}")
    await pause()
    answers = {"answer": {"action": "accept", "content": {}}}
    result = await client.ask("tools/call", {**call, "inputResponses": answers, "requestState": asked["requestState"]})
    expect(result, text)


async def start_job(client, text):
    begun = await client.ask("tools/call", {"name": "job", "arguments": {"text": text}})
    if begun["resultType"] != "task":
        raise Gone(f"no task: {begun}")
    return {"taskId": begun["taskId"]}


async def poll_task(client, text):
    task = await start_job(client, text)
    if random.random() < 0.2:
        await pause()
        await client.ask("tasks/update", {**task, "inputResponses": {}})
    cancelled = random.random() < 0.2
    if cancelled:
        await client.ask("tasks/cancel", task)
    for _ in range(20):
        await pause()
        seen = await client.ask("tasks/get", task)
        if seen["status"] == "cancelled" and cancelled:
            return
        if seen["status"] == "completed":
            expect(seen["result"], text)
            return
    raise Gone("the task never ended")


async def listen_to_task(client, text):
    task = (await start_job(client, text))["taskId"]
    await pause()
    async with asyncio.timeout(EVENT_TIMEOUT):
        async for message in client.listen({"taskIds": [task]}):
            if message["params"].get("status") == "completed":
                return


def expect(result, text):
    if result["content"][0]["text"] != text:
        raise Gone(f"another's answer: {result}")


SEQUENCES = {list_then_call: 40, ask_back: 30, poll_task: 25, listen_to_task: 5}


class Run:
    def __init__(self, args, ports):
        self.clients = [Client(number, ports) for number in range(args.clients)]
        self._watchers = [Client(args.clients + number, ports) for number in range(args.streams)]
        self._left = args.sequences
        self.done, self.wrong, self.broken = Counter(), Counter(), Counter()
        self.examples = []
        self.events = 0

    async def work(self, client):
        # All at once would be one moment of the split.
        await asyncio.sleep(random.uniform(0, 2 * PAUSE))
        while self._left > 0:
            self._left -= 1
            sequence = random.choices(list(SEQUENCES), SEQUENCES.values())[0]
            await self._counted(sequence.__name__, sequence(client, f"{client.key}-{self._left}"))

    async def _counted(self, name, doing):
        self.done[name] += 1
        try:
            await doing
        except Wrong as problem:
            self.wrong[name] += 1
            self.examples.append(f"{name}: {problem}")
        except Exception as problem:
            self.broken[name] += 1
            self.examples.append(f"{name}: {problem!r}")

    async def watch(self, client):
        async for _ in client.listen({"toolsListChanged": True}):
            self.events += 1

    async def run(self):
        watching = [asyncio.create_task(self._counted("held stream", self.watch(client))) for client in self._watchers]
        await asyncio.gather(*(self.work(client) for client in self.clients))
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, help="the binary under test")
    parser.add_argument("--direct-roundrobin", action="store_true", help="no proxy, the servers in turn")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--streams", type=int, default=20, help="streams that are open all the time")
    args = parser.parse_args()
    if not args.dualgate and not args.direct_roundrobin:
        parser.error("--dualgate is needed, or --direct-roundrobin")
    return args


def start(args, running):
    """The ports to ask, and the stepper of the split (None without a proxy)."""
    work = args.work.resolve() / "runs" / "ten-thousand"
    work.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2)
    for name, port in zip(("v1", "v2"), ports):
        command = [sys.executable, HERE / "servers/modern.py", "--port", port, "--name", name]
        server = Process(command, work / f"{name}.out")
        running.callback(server.stop)
        server.wait_ready(lambda: accepts(port))
    if args.direct_roundrobin:
        return ports, None
    gate = Gate(args.dualgate, *ports, "100:0", work)
    running.callback(gate.stop)
    return [gate.listen], running.enter_context(Stepper(gate, steps=STEPS, interval=STEP_INTERVAL))


def main():
    args = arguments()
    unwind_on_terminate()
    began = time.monotonic()
    with ExitStack() as running:
        ports, stepper = start(args, running)
        run = Run(args, ports)
        asyncio.run(run.run())
    both = sum(1 for client in run.clients if len(client.homes) == 2)
    print(f"{sum(run.done.values())} sequences of {len(run.clients)} clients, {both} of which were on both sides")
    for name, count in run.done.items():
        print(f"  {name}: {count}, on the wrong side {run.wrong[name]}, failed otherwise {run.broken[name]}")
    print(f"  {run.events} events on held streams")
    wrong, broken = sum(run.wrong.values()), sum(run.broken.values())
    if stepper:
        print(f"  {stepper.taken} split changes acknowledged; {stepper.errors[:3] or 'none failed'}")
    print(f"took {time.monotonic() - began:.0f} s")
    problems = run.examples[:10]
    if stepper:
        problems += stepper.errors[:3]
        # Clients that stayed where they were would have shown nothing.
        if both <= len(run.clients) / 2 or stepper.taken <= 20:
            problems.append(f"too little happened: {both} clients on both sides, {stepper.taken} split changes")
        ok = not problems
    else:
        # Without affinity each kind of sequence must be found to go wrong; the examples are what was to be seen.
        ok = all(run.wrong[sequence.__name__] for sequence in SEQUENCES)
    say(f"{wrong} on the wrong side, {broken} failed otherwise", problems, ok)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    with to_its_end("ten_thousand.py"):
        main()
