"""Below the SDK: an HTTP client that notes the session id and, when asked, loses one answer in the middle."""

import json
import ssl
import urllib.error
import urllib.request

DELETED_TIMEOUT = 10


def http_client(httpx, task, peer, headers=None, timeout=None):
    """`httpx` is the module of the SDK's own generation (httpx or httpx2)."""

    class Cut(httpx.AsyncByteStream):
        def __init__(self, stream):
            self._stream = stream

        async def __aiter__(self):
            seen = b""
            async for chunk in self._stream:
                yield chunk
                seen += chunk
                # After the first whole event the client holds an id to come back with.
                if b"id:" in seen and seen.replace(b"\r", b"").endswith(b"\n\n"):
                    raise httpx.ReadError("cut by the test")

        async def aclose(self):
            await self._stream.aclose()

    class Transport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            response = await super().handle_async_request(request)
            peer.heard(response.extensions["http_version"].decode())
            peer.session_id = peer.session_id or response.headers.get("mcp-session-id")
            if peer.cut_next and request.method == "POST" and b'"tools/call"' in request.content:
                peer.cut_next = False
                response.stream = Cut(response.stream)
            return response

    # Without HTTP/1.1 to fall back to, the client begins with HTTP/2 at once (prior knowledge).
    transport = Transport(verify=task.trust, http1=task.http != "h2c", http2=task.http != "1.1")
    keyed = {"X-API-Key": peer.key} if task.keyed else {}
    headers = {**(headers or {}), **keyed}
    return httpx.AsyncClient(transport=transport, headers=headers, timeout=timeout or httpx.Timeout(30, read=300))


def status_after_delete(task, session_id):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Mcp-Session-Id": session_id,
        "MCP-Protocol-Version": "2025-11-25",
    }
    context = task.trust if isinstance(task.trust, ssl.SSLContext) else None
    request = urllib.request.Request(task.url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=DELETED_TIMEOUT, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code
