"""Stateful Streamable HTTP server on the Python SDK 1.x."""

from mcp.server.fastmcp import Context, FastMCP
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.types import SamplingMessage, TextContent

import serve
import tools
from journal import Events


class Store(Events, EventStore):
    event_type = EventMessage


def sampling_message(text):
    return SamplingMessage(role="user", content=TextContent(type="text", text=text))


def build(journal):
    server = FastMCP("interop-py1", event_store=Store(), retry_interval=tools.RETRY_MS, log_level="WARNING")
    tools.register(server, journal, Context, sampling_message)
    return server.streamable_http_app()


serve.main(build)
