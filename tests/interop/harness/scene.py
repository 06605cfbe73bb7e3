"""The stage of march.py: two servers, dualgate before them, and the list of what was checked."""

import shutil

from .gate import Gate
from .matrix import start_server
from .procs import free_ports
from .report import say
from .verify import Journals


class Checks:
    def __init__(self):
        self.results = []

    def check(self, name, ok, figures=""):
        self.results.append(bool(ok))
        say(f"{name}{': ' if figures != '' else ''}{figures}", ok=ok)


class Scene:
    """Two servers, dualgate before them, and their journals."""

    def __init__(self, tools, args, split, running):
        self.work = args.work / "runs" / "march"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self._tools, self._kind, self._running = tools, args.server, running
        self.ports = dict(zip(("v1", "v2"), free_ports(2)))
        self.logs, self.servers = {}, {}
        for name in self.ports:
            self.start(name)
        self.gate = Gate(args.dualgate, self.ports["v1"], self.ports["v2"], split, self.work)
        running.callback(self.gate.stop)

    def start(self, name):
        process, self.logs[name] = start_server(self._tools, self._kind, self.ports[name], name, self.work)
        self.servers[name] = process
        self._running.callback(process.stop)

    def journals(self):
        return Journals(self.logs.values())
