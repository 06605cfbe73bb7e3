// Client on the TypeScript SDK 1.x.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { CALL_TIMEOUT, main } from './exercise.mjs';

async function open(url, peer) {
    const client = new Client({ name: 'interop-ts1', version: '1' }, { capabilities: { sampling: {} } });
    client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
        role: 'assistant',
        model: 'none',
        content: { type: 'text', text: peer.answerTo(params.messages[0].content.text) },
    }));
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => peer.noticed(params.data));
    const transport = new StreamableHTTPClientTransport(url, { fetch: peer.fetch });
    await client.connect(transport);
    return {
        sessionId: () => transport.sessionId,
        async call(tool, args, onprogress) {
            const result = await client.callTool({ name: tool, arguments: args }, undefined, { onprogress, timeout: CALL_TIMEOUT });
            if (result.isError) throw new Error(result.content[0].text);
            return result.content[0].text;
        },
        async end() {
            await transport.terminateSession();
            await client.close();
        },
    };
}

await main('ts1', open);
