// Stateful server on the TypeScript SDK 1.x and node:http: Streamable HTTP, or HTTP+SSE.
import { randomUUID } from 'node:crypto';
import { readSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { CallToolRequestSchema, CreateMessageResultSchema, ListToolsRequestSchema } from '@modelcontextprotocol/sdk/types.js';

import { Journal } from './journal.mjs';

const RETRY_MS = 200;
// Between the last progress and the result: the SDK's clients drop progress that they read in one go with the result.
const APART_MS = 150;
// While a call works it says so this often.
const STEP_MS = 200;
const option = { type: 'string' };
const flag = { type: 'boolean' };
// `--steady` and `--standby` are those of serve.py; `--unknown 400` is how servers after the SDK's examples refuse an id that
// they do not know.
const unknown = { ...option, default: '404' };
const { values: options } = parseArgs({
    options: { port: option, name: option, log: option, transport: option, unknown, steady: flag, standby: flag },
});
const journal = new Journal(options.log, options.name);
const sessions = new Map();

/** A promise that is kept from outside: what the tools wait for. */
function signal() {
    let fire;
    const fired = new Promise(resolve => (fire = resolve));
    return { fire, fired };
}

class Events {
    #events = [];

    async storeEvent(stream, message) {
        this.#events.push({ stream, message });
        return String(this.#events.length);
    }

    async getStreamIdForEventId(id) {
        return this.#events[Number(id) - 1]?.stream;
    }

    async replayEventsAfter(id, { send }) {
        const { stream } = this.#events[Number(id) - 1];
        for (const [at, event] of this.#events.entries()) {
            // A priming event is stored as an empty message and is nothing to replay.
            if (at >= Number(id) && event.stream === stream && event.message.jsonrpc) await send(String(at + 1), event.message);
        }
        return stream;
    }
}

const STEADY = {
    async work({ call, ms }, extra) {
        for (let progress = 0; progress < ms; progress += STEP_MS) {
            const params = { progress, total: ms, progressToken: extra._meta?.progressToken };
            if (params.progressToken !== undefined) await extra.sendNotification({ method: 'notifications/progress', params });
            await sleep(Math.min(STEP_MS, ms - progress));
        }
        journal.done(call, extra.sessionId);
        return call;
    },

    async notify({ call }, extra, session) {
        await session.server.sendLoggingMessage({ level: 'info', data: call });
        journal.done(call, extra.sessionId);
        return call;
    },
};

const ALL = {
    echo: ({ text }) => text,

    async count({ n, call }, extra) {
        for (let progress = 1; progress <= n; progress += 1) {
            await extra.sendNotification({
                method: 'notifications/progress',
                params: { progress, total: n, progressToken: extra._meta.progressToken },
            });
        }
        await sleep(APART_MS);
        return call;
    },

    async ask({ call }, extra) {
        const messages = [{ role: 'user', content: { type: 'text', text: call } }];
        const request = { method: 'sampling/createMessage', params: { messages, maxTokens: 100 } };
        const answer = await extra.sendRequest(request, CreateMessageResultSchema);
        return answer.content.text;
    },

    async announce({ call }, extra, session) {
        // Without an open stream the SDK drops the message, so the server waits for the stream rather than race it.
        await session.listening.fired;
        await session.server.sendLoggingMessage({ level: 'info', data: call });
        return call;
    },

    async slow({ late, call }, extra, session) {
        session.resumed = signal();
        extra.closeSSEStream();
        if (late) {
            // The answer then takes the resumed stream live; otherwise it waits in the event store to be replayed.
            await session.resumed.fired;
            await sleep(RETRY_MS);
        }
        return call;
    },
};

const TOOLS = options.steady ? STEADY : ALL;

/** A server for one session; what its tools wait for is fired by the transport. */
function open() {
    const server = new Server({ name: 'interop-ts', version: '1' }, { capabilities: { tools: {}, logging: {} } });
    const session = { server, listening: signal(), resumed: signal() };
    server.setRequestHandler(ListToolsRequestSchema, () => ({
        tools: Object.keys(TOOLS).map(name => ({ name, inputSchema: { type: 'object' } })),
    }));
    server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
        journal.call(params.name, params.arguments.call, extra.sessionId);
        const text = await TOOLS[params.name](params.arguments, extra, session);
        return { content: [{ type: 'text', text }] };
    });
    return session;
}

function streamable(session) {
    return new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: new Events(),
        retryInterval: RETRY_MS,
        onsessioninitialized(id) {
            sessions.set(id, session);
            journal.event('created', id);
        },
        onsessionclosed(id) {
            sessions.delete(id);
            journal.event('deleted', id);
        },
    });
}

/** The session is the GET: it is born with it and ends with it. */
async function handleSse(request, response) {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    if (request.method === 'GET' && pathname === '/sse') {
        const session = open();
        session.transport = new SSEServerTransport('/message', response);
        const id = session.transport.sessionId;
        sessions.set(id, session);
        journal.event('listening', id);
        session.listening.fire();
        response.on('close', () => {
            sessions.delete(id);
            journal.event('deleted', id);
        });
        await session.server.connect(session.transport);
        return;
    }
    const session = sessions.get(searchParams.get('sessionId'));
    if (session && pathname === '/message') await session.transport.handlePostMessage(request, response);
    else response.writeHead(404).end();
}

async function handle(request, response) {
    const id = request.headers['mcp-session-id'];
    let session = sessions.get(id);
    if (id && !session) {
        const error =
            options.unknown === '400'
                ? { code: -32000, message: 'Bad Request: No valid session ID provided' }
                : { code: -32001, message: 'Session not found' };
        response.writeHead(Number(options.unknown), { 'content-type': 'application/json' });
        response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error }));
        return;
    }
    if (!session) {
        session = open();
        session.transport = streamable(session);
        await session.server.connect(session.transport);
    }
    if (request.method === 'GET') {
        const sign = 'last-event-id' in request.headers ? 'resumed' : 'listening';
        onceAnswered(response, () => {
            journal.event(sign, id);
            session[sign].fire();
        });
    }
    await session.transport.handleRequest(request, response);
}

/** `handleRequest` returns only when a stream ends; that it began well is seen in the head of its answer. */
function onceAnswered(response, note) {
    const writeHead = response.writeHead;
    response.writeHead = (status, ...rest) => {
        if (status === 200) note();
        return writeHead.call(response, status, ...rest);
    };
}

// An end without a line: whoever waited has gone.
if (options.standby && readSync(0, Buffer.alloc(1)) === 0) process.exit();
createServer(options.transport === 'http+sse' ? handleSse : handle).listen(Number(options.port), '127.0.0.1');
