#!/usr/bin/env python3
"""What dualgate costs, in figures that do not depend on the machine's mood: instructions (callgrind), system calls (strace)
and resident memory, each compared with a bound in bounds.json. Fails where one is exceeded.

    cargo build --profile guard --locked --bin dualgate
    tests/cost/cost.py target/guard/dualgate            # BLESS=1 writes the bounds anew

One exchange at a time, a fixed number of them, over one loop: the same binary does the same work each time. Each figure is the
difference of what was counted after and before, so that start and warm-up are not in it.
"""
import asyncio
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUNDS = Path(__file__).with_name("bounds.json")

# Above what was measured. Counts repeat within a percent; memory comes in pages and arenas, and how many pages of the binary
# are there is also a matter of what the system has read ahead.
ROOM = {"instructions": 1.05, "system calls": 1.05, "KiB": 1.25,
        "system calls: a connection and a small POST": 1.15, "KiB: after the start, with pages of the binary": 1.40}
# Where a new bound would be below so much of the old one, the report says so.
SLACK = 0.9

POSTS, EVENTS, CONNECTIONS, STREAMS, KEPT = 1000, 1000, 200, 1000, 1000
WARM = 100
BUSY_STREAMS = 8

CALL = (b'{"jsonrpc":"2.0","id":10000000,"method":"tools/call","params":{"name":"search","arguments":{"query":"'
        + b"q" * 193 + b'"}}}')
ANSWER = b'{"jsonrpc":"2.0","id":10000000,"result":{"content":[{"type":"text","text":"' + b"r" * 121 + b'"}]}}'
EVENT = (b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress",'
         b'"params":{"progressToken":1,"progress":5}}\n\n')
FIELDS = b"host: mcp.test\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n"


class Backend:
    """A server that says the least; on each of its streams it says an event when told to."""

    def __init__(self):
        self.born = 0
        self.streams = []

    async def start(self):
        held = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
        self.servers = [await asyncio.start_server(self.serve, sock=one) for one in held]
        return [one.getsockname()[1] for one in held]

    async def serve(self, reader, writer):
        nodelay(writer)
        # At the end the loop cancels whoever waits still.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /mcp"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                    self.streams.append(writer)
                    say(writer)
                    await reader.read()
                    return
                length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                fields = b""
                if b'"initialize"' in body:
                    self.born += 1
                    fields = b"mcp-session-id: %032x\r\n" % self.born
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
                             % (fields, len(ANSWER), ANSWER))


def nodelay(writer):
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def say(writer):
    writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))


class Client:
    """One connection with a session of its own."""

    @classmethod
    async def open(cls, port, session=None):
        client = cls()
        client.reader, client.writer = await asyncio.open_connection("127.0.0.1", port)
        nodelay(client.writer)
        client.session = session or re.search(rb"(?i)\nmcp-session-id: (\S+)", await client.post(CALL.replace(b"tools/call", b"initialize")))[1]
        return client

    async def post(self, body=CALL):
        session = b"mcp-session-id: %s\r\n" % self.session if getattr(self, "session", None) else b""
        self.writer.write(b"POST /mcp HTTP/1.1\r\n%s%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                          % (FIELDS, session, len(body), body))
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)\ncontent-length: (\d+)", head)[1])
        answer = await self.reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200 ") or answer != ANSWER:
            raise SystemExit(f"a wrong answer: {head} {answer}")
        return head

    async def listen(self):
        self.writer.write(b"GET /mcp HTTP/1.1\r\n%smcp-session-id: %s\r\n\r\n" % (FIELDS, self.session))
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"a wrong answer: {head}")
        await self.event()

    async def event(self):
        await self.reader.readuntil(b"}}\n\n")

    async def close(self):
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Gate:
    """dualgate in front of the backend."""

    def __init__(self, binary, backends, folder, before=()):
        self.port, admin = free_ports(2)
        config = Path(folder) / f"{self.port}.toml"
        # One worker; checks so rare that none falls into what is counted.
        config.write_text(f"""
listen = "127.0.0.1:{self.port}"
threads = 1
admin = {{ listen = "127.0.0.1:{admin}" }}
state = {{ dir = "{folder}/{self.port}" }}
shutdown = {{ delay = "0s", drain = "1s" }}
[[service]]
name = "cost"
primary = {{ version = "1", endpoints = ["http://127.0.0.1:{backends[0]}"] }}
secondary = {{ version = "2", endpoints = ["http://127.0.0.1:{backends[1]}"] }}
split = {{ primary = 100, secondary = 0 }}
health = {{ kind = "tcp", interval = "1h" }}
traffic = {{ keep_alive = "0s" }}
""")
        environment = {name: value for name, value in os.environ.items() if name != "PORT"} | {"LOG_LEVEL": "error"}
        self.process = subprocess.Popen([*before, binary, "run", "--config", config], env=environment)

    async def up(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                client = await Client.open(self.port)
                await client.close()
                return self
            await asyncio.sleep(0.05)
        raise SystemExit("dualgate did not come up; what it said is above")

    def resident(self, field="VmRSS"):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", text)[1])

    def tasks(self, name):
        """Its threads whose name begins so."""
        found = []
        for comm in glob.glob(f"/proc/{self.process.pid}/task/*/comm"):
            with contextlib.suppress(OSError):
                if Path(comm).read_text().startswith(name):
                    found.append(comm.split("/")[-2])
        return found

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---------------------------------------------------------------- what is done, so many times


async def posts(gate, backend, count, client):
    for _ in range(count):
        await client.post()


async def events(gate, backend, count, clients):
    for at in range(count):
        say(backend.streams[at % len(clients)])
        await clients[at % len(clients)].event()


async def connections(gate, backend, count, session):
    for _ in range(count):
        client = await Client.open(gate.port, session)
        await client.post()
        await client.close()


async def steps(gate, backend):
    """Each step, warm: (name, what does it `count` times, count)."""
    client = await Client.open(gate.port)
    await posts(gate, backend, WARM, client)
    yield "a small POST", lambda: posts(gate, backend, POSTS, client), POSTS
    await connections(gate, backend, WARM, client.session)
    yield "a connection and a small POST", lambda: connections(gate, backend, CONNECTIONS, client.session), CONNECTIONS
    backend.streams.clear()
    clients = [await Client.open(gate.port) for _ in range(BUSY_STREAMS)]
    for one in clients:
        await one.listen()
    await events(gate, backend, WARM, clients)
    yield "an event", lambda: events(gate, backend, EVENTS, clients), EVENTS


# ---------------------------------------------------------------- what it costs


async def instructions(binary, backend, ports, folder):
    out = f"{folder}/callgrind"
    gate = Gate(binary, ports, folder, ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"])
    figures = {}
    try:
        await gate.up()
        async for name, act, count in steps(gate, backend):
            await counted(gate, out)
            await act()
            figures[f"instructions: {name}"] = await counted(gate, out) / count
    finally:
        gate.stop()
    return figures


async def counted(gate, out):
    """Instructions since the last time."""
    await asyncio.sleep(0.2)
    before = set(glob.glob(f"{out}*"))
    control = await asyncio.create_subprocess_exec("callgrind_control", "--dump", str(gate.process.pid),
                                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if await control.wait():
        raise SystemExit("callgrind_control failed: it needs ptrace and the package of valgrind")
    for _ in range(200):
        fresh = set(glob.glob(f"{out}*")) - before
        for path in fresh:
            totals = re.search(r"^totals: (\d+)", Path(path).read_text(errors="replace"), re.MULTILINE)
            if totals:
                return int(totals[1])
        await asyncio.sleep(0.05)
    raise SystemExit("callgrind wrote no counts")


async def system_calls(binary, backend, ports, folder):
    gate = Gate(binary, ports, folder)
    figures = {}
    try:
        await gate.up()
        threads = gate.tasks("traffic")
        if len(threads) != 1:
            raise SystemExit(f"expected one traffic thread, found {threads}")
        async for name, act, count in steps(gate, backend):
            figures[f"system calls: {name}"] = await traced(threads, folder, act) / count
    finally:
        gate.stop()
    return figures


async def traced(threads, folder, act):
    out = f"{folder}/strace"
    words = [word for thread in threads for word in ("-p", thread)]
    tracer = await asyncio.create_subprocess_exec("strace", "-c", "-o", out, *words, stderr=subprocess.DEVNULL)
    for _ in range(200):
        traced = [re.search(r"TracerPid:\s+(\d+)", Path(f"/proc/{thread}/status").read_text())[1] for thread in threads]
        if tracer.returncode is not None:
            raise SystemExit("strace failed: it needs ptrace")
        if "0" not in traced:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)
    await act()
    tracer.send_signal(signal.SIGINT)
    await tracer.wait()
    rows = [line.split() for line in Path(out).read_text().splitlines()]
    return sum(int(row[3]) for row in rows if len(row) >= 5 and row[0][0].isdigit() and row[-1] != "total")


async def memory(binary, backend, ports, folder):
    figures = {}
    for name, count, listens in (("an idle keep-alive connection", KEPT, False), ("an idle event stream", STREAMS, True)):
        gate = Gate(binary, ports, folder)
        try:
            await gate.up()
            await asyncio.sleep(1)
            if not figures:
                figures["KiB: after the start, its own"] = gate.resident("RssAnon")
                figures["KiB: after the start, with pages of the binary"] = gate.resident()
            clients = []
            await hold(gate, clients, WARM, listens)
            few = gate.resident()
            await hold(gate, clients, count, listens)
            many = gate.resident()
            figures[f"KiB: {name}"] = (many - few) / count
            for client in clients:
                await client.close()
        finally:
            gate.stop()
    return figures


async def hold(gate, clients, more, listens):
    for _ in range(more):
        client = await Client.open(gate.port)
        if listens:
            await client.listen()
        clients.append(client)
    await asyncio.sleep(0.5)


# ---------------------------------------------------------------- the verdict


def judge(figures, toolchain):
    stored = json.loads(BOUNDS.read_text())
    bounds, failed = stored["bounds"], []
    print(f"\n{'':50} {'measured':>12} {'bound':>12}")
    for name, figure in figures.items():
        bound = bounds.get(name)
        if bound is None:
            failed.append(f"{name}: {show(figure)}, and there is no bound for it")
        elif figure > bound:
            failed.append(f"{name}: {show(figure)}, which is {100 * (figure / bound - 1):.1f} % over its bound of {show(bound)}")
        hint = "  over" if bound is None or figure > bound else "  far below: BLESS=1 would hold it there" if room(name, figure) < SLACK * bound else ""
        print(f"{name:50} {show(figure):>12} {show(bound) if bound else '–':>12}{hint}")
    failed += [f"{name}: has a bound, and was not measured" for name in bounds.keys() - figures.keys()]
    for what in failed:
        print(f"FAIL {what}")
    if failed:
        print("Find what it was: callgrind_annotate on a run of `valgrind --tool=callgrind`, or `strace -c`. If the cost is worth it, and the")
        print("message of the commit says why: BLESS=1 tests/cost/cost.py BINARY writes the bounds anew.")
        if toolchain != stored["toolchain"]:
            print(f"The bounds are of another toolchain: {stored['toolchain']}; this is {toolchain}.")
    return 1 if failed else 0


def show(figure):
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"


def room(name, figure):
    bound = figure * ROOM.get(name, ROOM[name.split(":")[0]])
    return round(bound) if bound >= 100 else round(bound, 2)


def bless(figures, toolchain):
    bounds = {name: room(name, figure) for name, figure in figures.items()}
    BOUNDS.write_text(json.dumps({"toolchain": toolchain, "bounds": bounds}, indent=2) + "\n")
    for name, figure in figures.items():
        print(f"{name:50} {show(figure):>12} {show(bounds[name]):>12}")
    return 0


async def measure(binary):
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for cost in (instructions, system_calls, memory):
            backend = Backend()
            ports = await backend.start()
            figures |= await cost(binary, backend, ports, folder)
            for server in backend.servers:
                server.close()
    return figures


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for tool in ("valgrind", "callgrind_control", "strace"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not here: apt-get install --no-install-recommends valgrind strace")
    toolchain = subprocess.run(["rustc", "-V"], capture_output=True, text=True, check=True).stdout.strip() + ", " + os.uname().machine
    began = time.monotonic()
    figures = asyncio.run(measure(os.path.abspath(sys.argv[1])))
    code = bless(figures, toolchain) if os.environ.get("BLESS") else judge(figures, toolchain)
    print(f"{time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
