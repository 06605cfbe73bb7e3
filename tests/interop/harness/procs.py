"""Child processes: started with their output in a file, awaited until they serve, ended by their own pid."""

import random
import signal
import socket
import subprocess
import sys
import time

START_TIMEOUT = 30
# Below what systems give to outgoing connections: while nobody listens on a port that is to be taken again, no client's
# connection may take it, nor meet itself there.
PORTS = range(12_000, 32_000)
STOP_TIMEOUT = 5


def unwind_on_terminate():
    """A terminated run leaves no children: the exit passes through everything that stops them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def free_ports(count):
    """All are held until the last is known, so that they differ."""
    held = []
    while len(held) < count:
        try:
            held.append(socket.create_server(("127.0.0.1", random.choice(PORTS))))
        except OSError:
            continue
    ports = [holder.getsockname()[1] for holder in held]
    for holder in held:
        holder.close()
    return ports


def wait_until(condition, what, timeout=START_TIMEOUT, pause=0.02):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout} s")
        time.sleep(pause)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Process:
    def __init__(self, command, output, env=None, stdin=None):
        self.output = output
        with open(output, "a") as sink:
            self._child = subprocess.Popen(list(map(str, command)), stdin=stdin, stdout=sink, stderr=sink, env=env)

    @property
    def pid(self):
        return self._child.pid

    def wait_ready(self, ready):
        def ready_or_dead():
            if self._child.poll() is not None:
                raise RuntimeError(f"exited with {self._child.returncode}:\n{self.output.read_text()[-2000:]}")
            return ready()

        try:
            wait_until(ready_or_dead, f"readiness ({self.output.name})")
        except BaseException:
            # Nobody has it yet who would stop it.
            self.stop()
            raise

    def let_go(self):
        """What stood by begins: it was started with its standard input a pipe."""
        self._child.stdin.write(b"\n")
        self._child.stdin.close()

    @property
    def alive(self):
        return self._child.poll() is None

    def strike(self):
        """Kills without waiting for the end."""
        self._child.kill()

    def kill(self):
        self._child.kill()
        self._child.wait()

    def stop(self):
        self._child.terminate()
        try:
            self._child.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
