// Client on the TypeScript SDK 2.x, in the era that the task asks for.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { CALL_TIMEOUT, main } from './exercise.mjs';

const MODES = { legacy: 'legacy', auto: 'auto', modern: { pin: '2026-07-28' } };

async function open(task, peer) {
    const options = { capabilities: { sampling: {}, roots: { listChanged: true } }, versionNegotiation: { mode: MODES[peer.mode] } };
    const client = new Client({ name: 'interop-ts2', version: '1' }, options);
    client.setRequestHandler('sampling/createMessage', ({ params }) => ({
        role: 'assistant',
        model: 'none',
        content: { type: 'text', text: peer.answerTo(params.messages[0].content.text) },
    }));
    client.setNotificationHandler('notifications/message', ({ params }) => peer.noticed(params.data));
    client.setNotificationHandler('notifications/tools/list_changed', () => peer.noticed('tools changed'));
    const Transport = task.transport === 'http+sse' ? SSEClientTransport : StreamableHTTPClientTransport;
    const transport = new Transport(new URL(task.url), { fetch: peer.fetch, requestInit: { headers: peer.headers } });
    await client.connect(transport);
    return {
        version: client.getNegotiatedProtocolVersion(),
        sessionId: () => transport.sessionId,
        async call(tool, args, onprogress, signal) {
            const result = await client.callTool({ name: tool, arguments: args }, { onprogress, signal, timeout: CALL_TIMEOUT });
            if (result.isError) throw new Error(result.content[0].text);
            return result.content[0].text;
        },
        async tools() {
            return (await client.listTools()).tools.map(tool => tool.name);
        },
        listen: () => client.listen({ toolsListChanged: true }),
        notify: () => client.sendRootsListChanged(),
        async end() {
            await transport.terminateSession?.();
            await client.close();
        },
    };
}

await main('ts2', open);
