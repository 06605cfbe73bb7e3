"""Who meets whom: server kinds, clients, features, and why a cell may be empty."""

import os
from dataclasses import dataclass

from .procs import Process, accepts

FEATURES = ("tool-call", "progress", "server-request", "get-stream", "resume", "stick", "delete")
CLIENTS = ("py1", "py2", "ts1", "ts2", "rmcp")
SERVERS = ("py1", "py2", "ts", "everything")

# (client, server, feature): one sentence with the protocol's or the SDK's reason. Such a cell is not judged.
REASONS = {}


@dataclass(frozen=True)
class Lane:
    """How clients reach a server; a further transport or era is a further lane."""

    transport: str = "streamable-http"
    path: str = "/mcp"


LANES = (Lane(),)


def server_command(tools, kind, port, name, log):
    """Returns the command and what it needs in its environment."""
    if kind == "everything":
        package = tools.node / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
        tap = tools.node / "servers/tap.mjs"
        env = {"PORT": str(port), "INTEROP_NAME": name, "INTEROP_LOG": str(log)}
        return ["node", "--import", tap.as_uri(), package, "streamableHttp"], env
    arguments = ["--port", port, "--name", name, "--log", log]
    if kind == "ts":
        return ["node", tools.node / "servers/ts.mjs", *arguments], {}
    return [tools.python[kind], tools.here / "servers" / f"{kind}.py", *arguments], {}


def start_server(tools, kind, port, name, work):
    log = work / f"{name}.jsonl"
    log.touch()
    command, env = server_command(tools, kind, port, name, log)
    process = Process(command, work / f"{name}.out", {**os.environ, **env, "PYTHONDONTWRITEBYTECODE": "1"})
    process.wait_ready(lambda: accepts(port))
    return process, log


def client_command(tools, client, url, kind, sessions):
    if client == "rmcp":
        program = [tools.rmcp_client]
    elif client.startswith("ts"):
        program = ["node", tools.node / "clients" / f"{client}.mjs"]
    else:
        program = [tools.python[client], "-B", tools.here / "clients" / f"{client}.py"]
    return [str(part) for part in (*program, url, kind, sessions)]
