// Client on the TypeScript SDK 1.x.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { CALL_TIMEOUT, main } from './exercise.mjs';

async function open(task, peer) {
    const client = new Client({ name: 'interop-ts1', version: '1' }, { capabilities: { sampling: {}, roots: { listChanged: true } } });
    client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
        role: 'assistant',
        model: 'none',
        content: { type: 'text', text: peer.answerTo(params.messages[0].content.text) },
    }));
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => peer.noticed(params.data));
    const Transport = task.transport === 'http+sse' ? SSEClientTransport : StreamableHTTPClientTransport;
    const transport = new Transport(new URL(task.url), { fetch: peer.fetch, requestInit: { headers: peer.headers } });
    await client.connect(transport);
    return {
        version: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? 'handshake',
        sessionId: () => transport.sessionId,
        async call(tool, args, onprogress, signal) {
            const options = { onprogress, signal, timeout: CALL_TIMEOUT };
            const result = await client.callTool({ name: tool, arguments: args }, undefined, options);
            if (result.isError) throw new Error(result.content[0].text);
            return result.content[0].text;
        },
        notify: () => client.sendRootsListChanged(),
        async end() {
            await transport.terminateSession?.();
            await client.close();
        },
    };
}

await main('ts1', open);
