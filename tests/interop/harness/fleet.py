"""What rehome.py kills and starts again: servers that are the same at every start, and proxies with several services."""

import base64
import json
import re
import secrets
import subprocess
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field

from .gate import Gate
from .matrix import launch_server
from .procs import accepts, free_ports, wait_until

ORDER_TIMEOUT = 20
# The proxies' own configuration and that of one service; what a case says of its sessions comes at the end.
PROXY = """listen = "127.0.0.1:{listen}"
[admin]
listen = "127.0.0.1:{admin}"
[state]
dir = "{state}"
[seal]
key_files = ["{key}"]
[shutdown]
delay = "0s"
drain = "200ms"
"""
SERVICE = """
[[service]]
name = "{name}"
path = "/{name}"
strip_prefix = true
[service.primary]
version = "1"
endpoints = ["http://127.0.0.1:{primary}"]
[service.secondary]
version = "2"
endpoints = ["http://127.0.0.1:{secondary}"]
[service.split]
primary = {shares[0]}
secondary = {shares[1]}
{tables}
"""


class Server:
    """One place where a kind of server listens: a process at a time, each with a name and a journal of its own."""

    def __init__(self, tools, kind, name, work, running):
        self._tools, self._kind, self._name, self._work, self._running = tools, kind, name, work, running
        (self.port,) = free_ports(1)
        self._starts = 0
        self._process = self._standby = None
        self.process_name = None

    def _launch(self, *flags):
        self._starts += 1
        name = f"{self._name}-{self._starts}"
        extra = ("--steady", *flags)
        process, _ = launch_server(self._tools, self._kind, self.port, name, self._work, extra=extra, stdin=subprocess.PIPE)
        self._running.callback(process.stop)
        return process, name

    @property
    def alive(self):
        return self._process is not None and self._process.alive

    def start(self):
        """Does not wait: `wait` does."""
        self._process, self.process_name = self._launch()

    def wait(self):
        self._process.wait_ready(lambda: accepts(self.port))

    def stand_by(self):
        """The next process, ready but for its port."""
        self._standby = self._launch("--standby")

    def strike(self):
        self._process.strike()

    def kill(self):
        """The name of what was killed."""
        self._process.kill()
        return self.process_name

    def restart(self):
        """What stood by takes the port. Does not wait either."""
        (self._process, self.process_name), self._standby = self._standby, None
        self._process.let_go()


def seal_key(work):
    """A key file as replicas share it."""
    key = work / "seal.key"
    key.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    key.chmod(0o600)
    return key


class Front(Gate):
    """A dualgate with a service for each of `pairs` (name -> ports of primary and secondary)."""

    def __init__(self, binary, pairs, split, work, key, tables):
        self.listen, self.admin = free_ports(2)
        self._binary, self._services = binary, list(pairs)
        work.mkdir(parents=True, exist_ok=True)
        self._state, self._output = work / "state", work / "dualgate.out"
        text = PROXY.format(listen=self.listen, admin=self.admin, state=self._state, key=key)
        for name, (primary, secondary) in pairs.items():
            shares = split.split(":")
            text += SERVICE.format(name=name, primary=primary, secondary=secondary, shares=shares, tables=tables)
        config = work / "dualgate.toml"
        config.write_text(text)
        self._command = [binary, "run", "--config", config]
        self.start()

    @property
    def pid(self):
        return self._process.pid

    def urls(self, port=None):
        return [f"http://127.0.0.1:{port or self.listen}/{name}/mcp" for name in self._services]

    def each(self, command, *words):
        """A command of dualgate's for each service; raises when one was not acknowledged."""
        for service in self._services:
            line = [self._binary, command, *words, "--service", service]
            line += ["--admin-url", f"http://127.0.0.1:{self.admin}", "--token-file", self._state / "admin-token"]
            done = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=ORDER_TIMEOUT)
            if done.returncode != 0:
                raise RuntimeError(f"{command} {service} exited with {done.returncode}: {done.stderr.strip()}")

    def sessions(self, entry):
        """Service -> how many sessions the entry has there, by the admin API; those that have none are left out."""
        counts = {}
        for service in self._services:
            request = urllib.request.Request(f"http://127.0.0.1:{self.admin}/v1/services/{service}/sessions")
            request.add_header("Authorization", f"Bearer {(self._state / 'admin-token').read_text().strip()}")
            with urllib.request.urlopen(request, timeout=ORDER_TIMEOUT) as answer:
                counts[service] = json.load(answer)["entries"][entry]["sessions"]
        return {service: count for service, count in counts.items() if count}

    def empty_within(self, entry, seconds):
        """Whether the entry has lost its last session in so many seconds, and after how many."""
        began = time.monotonic()
        try:
            wait_until(lambda: not self.sessions(entry), "an empty entry", seconds, 0.25)
        except TimeoutError:
            return None
        return time.monotonic() - began

    def wait_up(self, entries=("primary", "secondary")):
        """Until it knows that these of each service answer."""
        wanted = {(service, entry) for service in self._services for entry in entries}

        def known():
            up = re.findall(r'dualgate_endpoint_up\{service="([^"]+)",entry="(\w+)"[^}]*\} 1', self.metrics())
            return wanted <= set(up)

        wait_until(known, "all servers up", pause=0.05)


@dataclass
class Execution:
    """One time that a server began a call."""

    process: str
    session: str
    done: bool = False


@dataclass
class Executions:
    """What the servers' journals say: call -> the times that it was begun."""

    of: dict = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, work):
        told = cls()
        done = set()
        for path in work.glob("*.jsonl"):
            # A killed process may have left a line half written.
            lines = path.read_text().split("\n")[:-1]
            for entry in map(json.loads, lines):
                if "done" in entry:
                    done.add((entry["server"], entry["done"]))
                elif "call" in entry:
                    told.of[entry["call"]].append(Execution(entry["server"], entry["session"]))
        for call, times in told.of.items():
            for one in times:
                one.done = (one.process, call) in done
        return told
