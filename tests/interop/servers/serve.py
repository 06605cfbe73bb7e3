"""The command line of the Python servers."""

import argparse

import uvicorn

from journal import Journal, Watch


def main(build):
    """`build(journal)` makes the SDK's ASGI application."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", required=True)
    args = parser.parse_args()
    journal = Journal(args.log, args.name)
    app = Watch(build(journal), journal)
    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning", timeout_graceful_shutdown=1)
