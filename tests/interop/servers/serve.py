"""The command line of the Python servers."""

import argparse
import asyncio

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
    args = parser.parse_args()
    journal = Journal(args.log, args.name)

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
