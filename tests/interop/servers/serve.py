"""The command line of the Python servers."""

import argparse
import asyncio
import sys

import uvicorn

from journal import Journal, Watch


def main(build):
    """`build(journal, args)` makes the SDK's ASGI application and what has to run beside it (or None)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--transport", choices=("streamable-http", "http+sse"), default="streamable-http")
    parser.add_argument("--stateless", action="store_true")
    parser.add_argument("--no-ids", action="store_true", help="events without ids, so that no stream can be resumed")
    parser.add_argument("--json", action="store_true", help="answers are JSON, not event streams")
    parser.add_argument("--steady", action="store_true", help="the tools of rehome.py alone, the same in every process")
    parser.add_argument("--standby", action="store_true", help="listens once a line has come on the standard input")
    args = parser.parse_args()
    journal = Journal(args.log, args.name)

    if args.standby:
        # How long a restart takes is then up to whoever waits for it, and not to the imports.
        # An end without a line: whoever waited has gone.
        if not sys.stdin.readline():
            return

    async def serve():
        app, beside = build(journal, args)
        config = uvicorn.Config(
            Watch(app, journal), host="127.0.0.1", port=args.port, log_level="warning", timeout_graceful_shutdown=1
        )
        running = asyncio.create_task(beside) if beside else None
        await uvicorn.Server(config).serve()
        if running:
            running.cancel()

    asyncio.run(serve())
