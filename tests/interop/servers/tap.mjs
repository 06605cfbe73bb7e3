// Loaded into the unchanged server-everything with `node --import`. It has no record of what it executes, so this
// reads the requests as they enter the process, after any proxy, and writes the same journal as our own servers.
import { subscribe } from 'node:diagnostics_channel';

import { Journal } from './journal.mjs';

const journal = new Journal(process.env.INTEROP_LOG, process.env.INTEROP_NAME);

subscribe('http.server.request.start', ({ request, response }) => {
    if (new URL(request.url, 'http://localhost').pathname === '/sse') watchSse(request, response);
    else watchPosts(request, response);
});

/** The session is the GET; its id is in the first event of the answer. */
function watchSse(request, response) {
    const write = response.write;
    let id;
    response.write = (chunk, ...rest) => {
        if (!id) {
            id = /sessionId=([-\w]+)/.exec(String(chunk))?.[1];
            if (id) journal.event('listening', id);
        }
        return write.call(response, chunk, ...rest);
    };
    response.on('close', () => id && journal.event('deleted', id));
}

function watchPosts(request, response) {
    const session = request.headers['mcp-session-id'] ?? new URL(request.url, 'http://localhost').searchParams.get('sessionId');
    const chunks = [];
    const push = request.push;
    // Listening for `data` would start the stream before the server reads it; `push` is passed through untouched.
    request.push = (chunk, ...rest) => {
        if (chunk) chunks.push(chunk);
        return push.call(request, chunk, ...rest);
    };
    const writeHead = response.writeHead;
    response.writeHead = (status, ...rest) => {
        const answer = writeHead.call(response, status, ...rest);
        if (status === 200 || status === 202) note(request, response, session, Buffer.concat(chunks).toString());
        return answer;
    };
}

function note(request, response, session, body) {
    if (request.method === 'GET') {
        journal.event('last-event-id' in request.headers ? 'resumed' : 'listening', session);
    } else if (request.method === 'DELETE') {
        journal.event('deleted', session);
    } else if (request.method === 'POST') {
        const message = JSON.parse(body);
        if (message.method === 'initialize' && response.hasHeader('mcp-session-id')) {
            journal.event('created', response.getHeader('mcp-session-id'));
        }
        if (message.method === 'tools/call') journal.call(message.params.name, message.params.arguments.call, session);
    }
}
