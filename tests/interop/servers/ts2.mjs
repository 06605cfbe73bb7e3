// Server on the TypeScript SDK 2.x: 2026-07-28, and the handshake without sessions unless `--legacy reject`.
import { createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { toNodeHandler } from '@modelcontextprotocol/node';
import { ProtocolError, Server, createMcpHandler, createRequestStateCodec, inputRequired } from '@modelcontextprotocol/server';

import { Journal } from './journal.mjs';

const PAGE = 3;
const TICK_MS = 200;
// Between the last progress and the result: the SDK's clients drop progress that they read in one go with the result.
const APART_MS = 150;
const PATIENCE_MS = 10_000;
const INVALID_PARAMS = -32602;
const option = { type: 'string' };
const { values: options } = parseArgs({
    options: { port: option, name: option, log: option, legacy: { ...option, default: 'stateless' } },
});
const journal = new Journal(options.log, options.name);
// Only this process can read what it sealed and the cursors it gave.
const key = randomBytes(32);
const codec = createRequestStateCodec({ key });

function cursorAt(start) {
    return `${start}.${createHmac('sha256', key).update(String(start)).digest('hex').slice(0, 16)}`;
}

const echo = ({ text }) => text;

const TOOLS = {
    echo,

    async count({ n, call }, context) {
        for (let progress = 1; progress <= n; progress += 1) {
            await context.mcpReq.notify({
                method: 'notifications/progress',
                params: { progress, total: n, progressToken: context.mcpReq._meta.progressToken },
            });
        }
        await sleep(APART_MS);
        return call;
    },

    async linger({ call }, context) {
        await sleep(PATIENCE_MS, undefined, { signal: context.mcpReq.signal }).catch(() => {});
        if (context.mcpReq.signal.aborted) journal.event('cancelled', keyOf(context));
        return call;
    },

    announce: echo,
    slow: echo,

    // What only this version has.
    [`echo-of-${options.name}`]: echo,
};

const keyOf = context => context.http?.req?.headers.get('x-api-key') ?? null;

async function ask({ call }, context) {
    const asked = context.mcpReq.requestState();
    if (asked === undefined) {
        const messages = [{ role: 'user', content: { type: 'text', text: call } }];
        const answer = inputRequired.createMessage({ messages, maxTokens: 100 });
        return inputRequired({ inputRequests: { answer }, requestState: await codec.mint(call, context) });
    }
    journal.call('ask', asked, keyOf(context));
    return text(context.mcpReq.inputResponses.answer.content.text);
}

const text = said => ({ content: [{ type: 'text', text: said }] });

function open() {
    const server = new Server(
        { name: 'interop-ts2', version: '1' },
        { capabilities: { tools: { listChanged: true } }, requestState: { verify: codec.verify } },
    );
    server.setRequestHandler('tools/list', ({ params }) => {
        const cursor = params?.cursor;
        const start = cursor ? Number(cursor.split('.')[0]) : 0;
        if (cursor && cursor !== cursorAt(start)) throw new ProtocolError(INVALID_PARAMS, 'this cursor is not from here');
        const tools = [...Object.keys(TOOLS), 'ask'].map(name => ({ name, inputSchema: { type: 'object' } }));
        const end = start + PAGE;
        return { tools: tools.slice(start, end), ...(end < tools.length ? { nextCursor: cursorAt(end) } : {}) };
    });
    server.setRequestHandler('tools/call', async ({ params }, context) => {
        if (params.name === 'ask') return ask(params.arguments, context);
        if (!TOOLS[params.name]) throw new ProtocolError(INVALID_PARAMS, `no such tool: ${params.name}`);
        journal.call(params.name, params.arguments.call, keyOf(context));
        return text(await TOOLS[params.name](params.arguments, context));
    });
    return server;
}

const handler = createMcpHandler(open, { legacy: options.legacy });
const serve = toNodeHandler(handler);
setInterval(() => handler.notify.toolsChanged(), TICK_MS);

createServer((request, response) => {
    if (request.headers['mcp-method'] === 'subscriptions/listen') {
        const client = request.headers['x-api-key'];
        journal.event('listening', client);
        response.on('close', () => journal.event('unlistened', client));
    }
    serve(request, response);
}).listen(Number(options.port), '127.0.0.1');
