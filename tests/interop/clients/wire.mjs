// Below the SDK: a `fetch` that speaks the HTTP version of the task, sends the client's key, and can lose one answer in
// the middle.
import { Agent, buildConnector, fetch as undiciFetch, H2CClient, Pool } from 'undici';

/** `heard(version)` is called once per connection with what was agreed on it. */
function dispatcher(task, heard) {
    if (task.http === 'h2c') {
        // With several requests on a connection undici keeps a POST waiting for as long as a stream is open there.
        const factory = origin => new H2CClient(origin, { pipelining: 1, maxConcurrentStreams: 1 });
        return new Pool(new URL(task.url).origin, { factory });
    }
    const connector = buildConnector({ allowH2: true });
    return new Agent({
        allowH2: true,
        connect(options, callback) {
            connector(options, (problem, socket) => {
                if (socket) heard(socket.alpnProtocol === 'h2' ? 'HTTP/2' : 'HTTP/1.1');
                callback(problem, socket);
            });
        },
    });
}

/** The `fetch` of a whole process: its connections are shared by the sessions, as a host application's are. */
export function fetchFor(task, heard) {
    if (task.http === '1.1') {
        return async (url, init) => {
            const response = await fetch(url, init);
            heard('HTTP/1.1');
            return response;
        };
    }
    const shared = dispatcher(task, heard);
    return async (url, init) => {
        // A client that knows no other protocol than HTTP/2 has spoken it when it has an answer.
        const response = await undiciFetch(url, { ...init, dispatcher: shared });
        if (task.http === 'h2c') heard('HTTP/2');
        return response;
    };
}

/** After the first whole event the client holds an id to come back with. */
export function cut(body) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let seen = '';
    return new ReadableStream({
        async pull(controller) {
            if (/^id:[^]*\n\r?\n$/m.test(seen)) {
                await reader.cancel();
                controller.error(new Error('cut by the test'));
                return;
            }
            const { value, done } = await reader.read();
            if (done) {
                controller.close();
                return;
            }
            seen += decoder.decode(value, { stream: true });
            controller.enqueue(value);
        },
    });
}
