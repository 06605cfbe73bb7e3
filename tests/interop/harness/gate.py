"""dualgate under test: started with flags, its split set by its own command."""

import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

from .procs import Process, free_ports, wait_until

SPLIT_TIMEOUT = 10
STEP_INTERVAL = 0.2
BEGUN_TIMEOUT = 10
STEPS = ("90:10", "50:50", "0:100", "100:0")


CONFIG = """listen = "127.0.0.1:{listen}"
{top}
[admin]
listen = "127.0.0.1:{admin}"
[state]
dir = "{state}"
[[service]]
name = "default"
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


class Gate:
    """Started with flags, or with a configuration file where `top` and `tables` ask for more than flags say."""

    def __init__(self, binary, primary, secondary, split, work, top="", tables="", tls=None):
        self.listen, self.admin, self.tls = free_ports(3)
        self._binary = binary
        self._state = work / "state"
        self._output = work / "dualgate.out"
        if tls:
            pair = f'{{ cert = "{tls.cert}", key = "{tls.key}" }}'
            top += f'[tls]\nlisten = "127.0.0.1:{self.tls}"\ncertificates = [{pair}]\n'
        if top or tables:
            config = work / "dualgate.toml"
            values = {"listen": self.listen, "admin": self.admin, "state": self._state, "shares": split.split(":")}
            text = CONFIG.format(**values, primary=primary, secondary=secondary, top=top, tables=tables)
            config.write_text(text)
            self._command = [binary, "run", "--config", config]
        else:
            self._command = [
                binary, "run",
                "--primary", f"http://127.0.0.1:{primary}",
                "--secondary", f"http://127.0.0.1:{secondary}",
                "--split", split,
                "--listen", f"127.0.0.1:{self.listen}",
                "--admin", f"127.0.0.1:{self.admin}",
                "--state-dir", self._state,
            ]
        self.start()
        # With one entry it is ready; the other's first check may come late.
        self.wait_up()

    def start(self):
        """Also after a kill: same ports, same state."""
        self._process = Process(self._command, self._output)
        self._process.wait_ready(self._ready)

    def _ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/health/ready", timeout=1) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def wait_up(self):
        """Until it knows of both servers that they answer."""

        def known():
            up = re.findall(r'dualgate_endpoint_up\{[^}]*entry="(\w+)"[^}]*\} (\d)', self.metrics())
            return {("primary", "1"), ("secondary", "1")} <= set(up)

        wait_until(known, "both servers up", pause=0.05)

    def split(self, wanted=None):
        """Returns what the command prints; raises when it was not acknowledged."""
        command = [self._binary, "split", *([wanted] if wanted else [])]
        command += ["--admin-url", f"http://127.0.0.1:{self.admin}", "--token-file", self._state / "admin-token"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=SPLIT_TIMEOUT)
        if done.returncode != 0:
            raise RuntimeError(f"split {wanted or ''} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def current_split(self):
        """As `primary:secondary` in percent, whatever the command prints around the two figures."""
        text = self.split()
        found = re.search(r"([\d.]+):([\d.]+)", text)
        return f"{float(found[1]):g}:{float(found[2]):g}" if found else text.strip()

    def kill(self):
        self._process.kill()

    def stop(self):
        self._process.stop()


class Stepper:
    """Moves the split through `steps` over and over while clients are at work; `holds` come first: (split, seconds), and
    the first step not before `begun` says so, or ten seconds have passed."""

    def __init__(self, gate, holds=(), steps=STEPS, interval=STEP_INTERVAL, begun=lambda: True):
        self._gate, self._begun = gate, begun
        self._holds, self._steps, self._interval = holds, steps, interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.taken = 0
        self.errors = []

    def _run(self):
        for split, seconds in self._holds:
            self._set(split)
            self._stopped.wait(seconds)
        deadline = time.monotonic() + BEGUN_TIMEOUT
        while not self._begun() and time.monotonic() < deadline and not self._stopped.wait(0.1):
            pass
        while not self._stopped.wait(self._interval):
            self._set(self._steps[self.taken % len(self._steps)])

    def _set(self, split):
        try:
            self._gate.split(split)
            self.taken += 1
        except (RuntimeError, subprocess.TimeoutExpired) as problem:
            self.errors.append(str(problem))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()
