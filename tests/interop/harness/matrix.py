"""Who meets whom and over what: lanes, server kinds, clients, features, and why a cell may be empty."""

import json
import os
from dataclasses import dataclass, field

from .procs import Process, accepts

CLIENTS = ("py1", "py2", "ts1", "ts2", "rmcp")
NEGOTIATING = ("py2", "ts2", "rmcp")
LEGACY = ("tool-call", "progress", "server-request", "get-stream", "resume", "stick", "delete")
SSE = ("tool-call", "progress", "server-request", "get-stream", "stick", "delete")
MODERN = ("tool-call", "progress", "input-required", "list-call", "listen", "cancel")
MIXED = ("tool-call", "progress", "stick")
FEATURES = (*LEGACY, *MODERN[2:])

# (lane, client, server, feature): one sentence with the protocol's or the SDK's reason. Such a cell is not judged; `*`
# stands for any.
DROPS_PROGRESS = (
    "the SDK forgets a call's progress handler when it reads the result, before it has run the handler for progress that came "
    "in the same read, as it does where a server sends both at once"
)
REASONS = {
    (lane, client, "*", "progress"): DROPS_PROGRESS for lane in ("http+sse", "http+sse+h2") for client in ("ts1", "ts2")
}


def reason(lane, client, server, feature):
    for at, why in REASONS.items():
        if all(wanted in ("*", got) for wanted, got in zip(at, (lane, client, server, feature))):
            return why
    return ""


@dataclass(frozen=True)
class Pair:
    """The server kinds behind the two entries."""

    primary: str
    secondary: str

    @property
    def name(self):
        return self.primary if self.primary == self.secondary else f"{self.primary}+{self.secondary}"


def same(*kinds):
    return tuple(Pair(kind, kind) for kind in kinds)


@dataclass(frozen=True)
class Lane:
    """How clients reach a server, in which era, and what they do there."""

    name: str
    features: tuple
    dialect: str
    pairs: tuple
    clients: tuple = CLIENTS
    transport: str = "streamable-http"
    path: str = "/mcp"
    # Eras in which sessions connect, in turn: legacy, modern, auto.
    modes: tuple = ("legacy",)
    # Clients without negotiation among those that have it stay legacy.
    own_modes: dict = field(default_factory=dict)
    # A key of its own for each session: that is what a modern client is placed by.
    keyed: bool = False
    tls: bool = False
    http: str = "1.1"
    # Whether the clients can also be sent to a server without the proxy.
    direct: bool = True
    # Keys of [service.health].
    health: str = ""

    def modes_of(self, client):
        return self.own_modes.get(client, self.modes)


STAY_LEGACY = {"py1": ("legacy",), "ts1": ("legacy",)}
BOTH = ("modern", "auto")

LANES = (
    Lane("streamable", LEGACY, "legacy", same("py1", "py2", "ts", "everything", "rmcp")),
    # rmcp has had no HTTP+SSE client since 1.0.
    Lane(
        "http+sse", SSE, "sse", same("py1", "py2", "ts", "everything"), ("py1", "py2", "ts1", "ts2"),
        transport="http+sse", path="/sse", health='path = "/sse"',
    ),
    Lane("modern", MODERN, "modern", same("py2", "py2-stateless", "ts2", "rmcp"), NEGOTIATING, modes=BOTH, keyed=True),
    Lane(
        "mixed", MIXED, "mixed",
        (Pair("py1", "py2"), Pair("ts2", "ts"), Pair("py2", "ts2-modern"), Pair("ts2-modern", "rmcp")),
        modes=("auto",), own_modes=STAY_LEGACY, keyed=True, direct=False,
    ),
    Lane("https", LEGACY, "legacy", same("py2", "everything"), tls=True, direct=False),
    Lane("https+h2", LEGACY, "legacy", same("py1", "py2", "ts", "everything", "rmcp"), tls=True, http="2", direct=False),
    Lane("h2c", LEGACY, "legacy", same("py1"), http="h2c", direct=False),
    Lane(
        "http+sse+h2", SSE, "sse", same("ts"), ("py1", "py2", "ts1", "ts2"), transport="http+sse", path="/sse",
        health='path = "/sse"', tls=True, http="2", direct=False,
    ),
    Lane(
        "modern+h2", MODERN, "modern", same("py2", "ts2"), NEGOTIATING, modes=BOTH, keyed=True, tls=True, http="2",
        direct=False,
    ),
)


# The second half of a server kind's name.
VARIANTS = {"": [], "stateless": ["--stateless"], "modern": ["--legacy", "reject"], "plain": ["--no-ids"], "json": ["--json"], "400": ["--unknown", "400"]}


def server_command(tools, kind, port, name, log, transport, extra):
    """Returns the command and what it needs in its environment; `extra` are flags of our own servers."""
    if kind == "everything":
        package = tools.node / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
        tap = tools.node / "servers/tap.mjs"
        env = {"PORT": str(port), "INTEROP_NAME": name, "INTEROP_LOG": str(log)}
        return ["node", "--import", tap.as_uri(), package, "sse" if transport == "http+sse" else "streamableHttp"], env
    if kind == "rmcp":
        return [tools.rmcp_client, "serve", "--port", port, "--name", name, "--log", log, *extra], {}
    base, _, variant = kind.partition("-")
    arguments = ["--port", port, "--name", name, "--log", log, *extra]
    if base == "ts2":
        return ["node", tools.node / "servers/ts2.mjs", *arguments, *VARIANTS[variant]], {}
    arguments += ["--transport", transport]
    if base == "ts":
        return ["node", tools.node / "servers/ts.mjs", *arguments, *VARIANTS[variant]], {}
    return [tools.python[base], tools.here / "servers" / f"{base}.py", *arguments, *VARIANTS[variant]], {}


def launch_server(tools, kind, port, name, work, transport="streamable-http", extra=(), stdin=None):
    log = work / f"{name}.jsonl"
    log.touch()
    command, env = server_command(tools, kind, port, name, log, transport, extra)
    env = {**os.environ, **env, "PYTHONDONTWRITEBYTECODE": "1"}
    return Process(command, work / f"{name}.out", env, stdin), log


def start_server(tools, kind, port, name, work, transport="streamable-http"):
    process, log = launch_server(tools, kind, port, name, work, transport)
    process.wait_ready(lambda: accepts(port))
    return process, log


def client_command(tools, client, task):
    """`task`: what the client is to do, see `task_of` in run.py."""
    if client == "rmcp":
        program = [tools.rmcp_client]
    elif client.startswith("ts"):
        program = ["node", tools.node / "clients" / f"{client}.mjs"]
    else:
        program = [tools.python[client], "-B", tools.here / "clients" / f"{client}.py"]
    return [str(part) for part in (*program, json.dumps(task))]
