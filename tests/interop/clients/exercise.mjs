// What every TypeScript client does in each of its sessions; clients/exercise.py and the rmcp example do the same.
// A client brings `open(url, peer)`: it connects with its SDK and returns { call, end }, where `call(tool, arguments,
// onprogress)` gives the text of the result and `end()` ends the session with DELETE.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export const CALL_TIMEOUT = 10_000;
const NOTICE_TIMEOUT = 1_500;
// Sessions are born over a whole cycle of the moving split rather than in one moment of it.
const BIRTH_INTERVAL = 250;
const GONE = [400, 404];

class Tally {
    constructor(features) {
        this.features = Object.fromEntries(features.map(name => [name, { calls: 0, failed: 0, detail: [], ids: {} }]));
    }

    call(feature, session, call) {
        (this.features[feature].ids[session] ??= []).push(call);
    }

    outcome(feature, error) {
        const entry = this.features[feature];
        entry.calls += 1;
        if (error) {
            entry.failed += 1;
            entry.detail.push(error);
        }
    }
}

/** What the SDK's callbacks leave for the exercise, and a `fetch` that can lose one answer in the middle. */
class Peer {
    notices = [];
    cutNext = false;
    #wake = () => {};

    answerTo(prompt) {
        return `answer: ${prompt}`;
    }

    noticed(data) {
        this.notices.push(JSON.stringify(data));
        this.#wake();
    }

    async notice(wanted) {
        const deadline = AbortSignal.timeout(NOTICE_TIMEOUT);
        while (!this.notices.some(text => text.includes(wanted))) {
            deadline.throwIfAborted();
            await new Promise(resolve => {
                this.#wake = resolve;
                deadline.addEventListener('abort', resolve, { once: true });
            });
        }
        this.notices = [];
    }

    fetch = async (url, init) => {
        const response = await fetch(url, init);
        if (!this.cutNext || init?.method !== 'POST' || !String(init.body).includes('"tools/call"')) return response;
        this.cutNext = false;
        return new Response(cut(response.body), { status: response.status, headers: response.headers });
    };
}

/** After the first whole event the client holds an id to come back with. */
function cut(body) {
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

function dialect(serverKind) {
    const dialects = JSON.parse(readFileSync(new URL('../dialects.json', import.meta.url)));
    return dialects[serverKind === 'everything' ? 'everything' : 'ours'];
}

async function oneCall(peer, connection, step, spec, call) {
    const progress = [];
    const filled = Object.fromEntries(Object.entries(step.arguments).map(([k, v]) => [k, v === '$call' ? call : v]));
    peer.cutNext = spec.cut ?? false;
    const text = await connection.call(step.tool, filled, note => progress.push(note.progress));
    if (spec.expect && !text.includes(spec.expect.replace('$call', call))) {
        throw new Error(`unexpected answer: ${text.slice(0, 200)}`);
    }
    if (spec.progress && progress.join() !== Array.from({ length: spec.progress }, (_, n) => n + 1).join()) {
        throw new Error(`progress was ${progress}`);
    }
    if (spec.notice) await peer.notice(spec.notice.replace('$call', call));
}

async function runFeature(peer, connection, tally, prefix, session, feature, spec) {
    for (let round = 0; round < spec.repeat; round += 1) {
        for (const [number, step] of spec.calls.entries()) {
            let error;
            for (let attempt = 0; attempt < (spec.attempts ?? 1); attempt += 1) {
                const call = `${prefix}-${session}-${feature}-${round}-${number}-${attempt}`;
                tally.call(feature, session, call);
                try {
                    await oneCall(peer, connection, step, spec, call);
                    error = undefined;
                    break;
                } catch (problem) {
                    error = `${call}: ${problem}`;
                }
            }
            tally.outcome(feature, error);
            await sleep(spec.pace_ms ?? 0);
        }
    }
}

async function statusAfterDelete(url, sessionId) {
    const answer = await fetch(url, {
        method: 'POST',
        headers: {
            'content-type': 'application/json',
            accept: 'application/json, text/event-stream',
            'mcp-session-id': sessionId,
            'mcp-protocol-version': '2025-11-25',
        },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
        signal: AbortSignal.timeout(CALL_TIMEOUT),
    });
    await answer.body?.cancel();
    return answer.status;
}

async function runSession(open, url, prefix, session, features, tally) {
    await sleep(session * BIRTH_INTERVAL);
    const peer = new Peer();
    const left = Object.keys(features);
    try {
        const connection = await open(url, peer);
        while (left.length > 0) {
            await runFeature(peer, connection, tally, prefix, session, left[0], features[left[0]]);
            left.shift();
        }
        const sessionId = connection.sessionId();
        await connection.end();
        const status = await statusAfterDelete(url, sessionId);
        tally.outcome('delete', GONE.includes(status) ? undefined : `session ${session}: ${status} after DELETE`);
    } catch (problem) {
        // One dead session must not hide the others; what it did not reach counts as failed.
        for (const feature of [...left, 'delete']) tally.outcome(feature, `session ${session}: ${problem}`);
    }
}

export async function main(client, open) {
    const [url, serverKind, sessions = '4'] = process.argv.slice(2);
    const features = dialect(serverKind);
    const tally = new Tally([...Object.keys(features), 'delete']);
    const numbers = [...Array(Number(sessions)).keys()];
    await Promise.all(numbers.map(n => runSession(open, new URL(url), `${client}-${serverKind}`, n, features, tally)));
    console.log(JSON.stringify({ client, server: serverKind, features: tally.features }));
    // Some SDK versions leave reconnect timers behind that would keep the process alive.
    process.exit(0);
}
