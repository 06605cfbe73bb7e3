"""Stateful server on the Python SDK 1.x: Streamable HTTP, or HTTP+SSE."""

from mcp.server.fastmcp import Context, FastMCP
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.types import SamplingMessage, TextContent

import serve
import tools
from journal import Events


class Store(Events, EventStore):
    event_type = EventMessage


def build(journal, args):
    ids = {} if args.no_ids or args.json else {"event_store": Store(), "retry_interval": tools.RETRY_MS}
    server = FastMCP("interop-py1", log_level="WARNING", json_response=args.json, **ids)
    if args.steady:
        tools.register_steady(server, journal, Context)
        return server.streamable_http_app(), None
    tools.register(server, journal, Context)

    async def ask(call: str, ctx: Context) -> str:
        journal.call("ask", call)
        messages = [SamplingMessage(role="user", content=TextContent(type="text", text=call))]
        answer = await ctx.session.create_message(messages, max_tokens=100, related_request_id=ctx.request_id)
        return answer.content.text

    server.tool(structured_output=False)(ask)
    app = server.sse_app() if args.transport == "http+sse" else server.streamable_http_app()
    return app, None


serve.main(build)
