"""Server on the Python SDK 2.x: Streamable HTTP of both eras, or HTTP+SSE."""

import asyncio
import hashlib
import hmac
import secrets

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CreateMessageRequest, CreateMessageRequestParams, InputRequiredResult
from mcp_types import SamplingMessage, TextContent
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

import serve
import tools
from journal import Events


class Store(Events, EventStore):
    event_type = EventMessage


class Pages:
    """Middleware: `tools/list` in pages, whose cursors only this process can read."""

    def __init__(self):
        self._key = secrets.token_bytes(16)

    def _cursor(self, start):
        mark = hmac.new(self._key, str(start).encode(), hashlib.sha256).hexdigest()[:16]
        return f"{start}.{mark}"

    async def __call__(self, ctx, call_next):
        if ctx.method != "tools/list":
            return await call_next(ctx)
        cursor = (ctx.params or {}).get("cursor")
        start = int(cursor.split(".")[0]) if cursor else 0
        if cursor and not hmac.compare_digest(cursor, self._cursor(start)):
            raise MCPError(INVALID_PARAMS, "this cursor is not from here")
        result = await call_next(ctx)
        listed = result if isinstance(result, dict) else result.model_dump(by_alias=True, exclude_none=True, mode="json")
        end = start + tools.PAGE
        more = {"nextCursor": self._cursor(end)} if end < len(listed["tools"]) else {}
        return {**listed, "tools": listed["tools"][start:end], **more}


def prompt_of(call):
    messages = [SamplingMessage(role="user", content=TextContent(type="text", text=call))]
    return CreateMessageRequestParams(messages=messages, max_tokens=100)


def build(journal, args):
    bus = InMemorySubscriptionBus()
    server = MCPServer("interop-py2", log_level="WARNING", subscriptions=bus, middleware=[Pages()])
    options = {"stateless_http": True} if args.stateless else {"event_store": Store(), "retry_interval": tools.RETRY_MS}
    if args.steady:
        tools.register_steady(server, journal, Context)
        return server.streamable_http_app(**options), None
    tools.register(server, journal, Context)

    async def ask(call: str, ctx: Context) -> str | InputRequiredResult:
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            journal.call("ask", call)
            request = prompt_of(call)
            answer = await ctx.session.create_message(
                request.messages, max_tokens=request.max_tokens, related_request_id=ctx.request_id
            )
            return answer.content.text
        if ctx.request_state is None:
            # The SDK seals it with a key that only this process has.
            return InputRequiredResult(
                input_requests={"answer": CreateMessageRequest(params=prompt_of(call))}, request_state=call
            )
        journal.call("ask", ctx.request_state)
        return ctx.input_responses["answer"].content.text

    server.tool(structured_output=False)(ask)
    if args.transport == "http+sse":
        return server.sse_app(), None

    async def ticks():
        while True:
            await asyncio.sleep(tools.TICK)
            await bus.publish(ToolsListChanged())

    return server.streamable_http_app(**options), ticks()


serve.main(build)
