"""Packages by name and exact version into the work directory; nothing is skipped, a failed install is an error."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
WORK = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")) / "interop"


def run(command, cwd=None):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}")


def once(target, wanted, install):
    """Runs `install` unless the stamp in `target` says that exactly `wanted` is there already."""
    stamp = target / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    print(f"installing {target.name}", file=sys.stderr)
    install()
    stamp.write_text(wanted)


def install_python(work, name):
    requirements = HERE / f"requirements-{name}.txt"
    target = work / name

    def install():
        run([sys.executable, "-m", "venv", target])
        run([target / "bin" / "pip", "install", "--quiet", "--requirement", requirements])

    once(target, requirements.read_text(), install)
    return target / "bin" / "python"


def install_node(work):
    target = work / "node"
    manifest = (HERE / "package.json").read_text()

    def install():
        for name in ("package.json", ".npmrc"):
            shutil.copy(HERE / name, target)
        run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=target)

    once(target, manifest, install)
    # An ECMAScript module finds its packages next to itself, so the sources are copied to them.
    for source in (*HERE.glob("*/*.mjs"), HERE / "dialects.json"):
        copy = target / source.relative_to(HERE)
        # What is the same already may be in use by a run beside this one.
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(source, copy)
    return target


@contextlib.contextmanager
def locked(work):
    """Runs side by side install once."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        # Until the file is closed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Tools:
    """Where the installed interpreters and packages are."""

    def __init__(self, work):
        with locked(work):
            self._install(work)
        self.here = HERE

    def _install(self, work):
        self.python = {name: install_python(work, name) for name in ("py1", "py2")}
        self.node = install_node(work)
