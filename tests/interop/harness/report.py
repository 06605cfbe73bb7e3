"""What every script says of a failure: a line that begins with FAIL, and what was wrong in indented lines below it.

tests/interop.rs repeats those lines at its end, and whoever reads a log may look for them alone.
"""

import sys
import traceback
from contextlib import contextmanager

PROBLEM_LENGTH = 300


def say(name, problems=(), ok=None):
    """One judgement; it is a failure where there are problems, or where `ok` says so."""
    failed = bool(problems) if ok is None else not ok
    print(f"{'FAIL' if failed else 'ok'} {name}", flush=True)
    for problem in problems:
        for line in str(problem).splitlines():
            print(f"    {line[:PROBLEM_LENGTH]}", flush=True)


@contextmanager
def to_its_end(script):
    """What nobody expected is a failure too, and told as one."""
    try:
        yield
    except Exception as problem:
        where = traceback.format_exception(problem, limit=-4)
        say(f"{script} did not come to its end: {problem!r}", where)
        sys.exit(1)
    except SystemExit as ended:
        # A sentence instead of a status: a package could not be installed.
        if isinstance(ended.code, str):
            say(f"{script} did not come to its end", [ended.code])
            sys.exit(1)
        raise
