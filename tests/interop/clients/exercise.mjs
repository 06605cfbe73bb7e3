// What every TypeScript client does in each of its sessions; clients/exercise.py and the rmcp example do the same.
// A client brings `open(task, peer)`: it connects with its SDK and returns { version, call, end } and, as its lanes need
// them, { sessionId, tools, listen }; `call(tool, arguments, onprogress, signal)` gives the text of the result, `end()`
// ends the session. The task comes as one JSON argument; run.py documents its fields.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { cut, fetchFor } from './wire.mjs';

export const CALL_TIMEOUT = 10_000;
const NOTICE_TIMEOUT = 2_500;
const CANCEL_AFTER = 300;
// Sessions are born over a whole cycle of the moving split rather than in one moment of it.
const BIRTH_INTERVAL = 250;
const GONE = [400, 404];

class Tally {
    versions = {};
    wire = {};

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

    heard = version => {
        this.wire[version] = (this.wire[version] ?? 0) + 1;
    };
}

/** What the SDK's callbacks leave for the exercise, and the session's own `fetch`. */
export class Peer {
    notices = [];
    cutNext = false;
    #wake = () => {};

    constructor(task, session, fetch) {
        this.key = `${task.prefix}-${session}`;
        this.mode = task.modes[session % task.modes.length];
        this.headers = task.keyed ? { 'x-api-key': this.key } : {};
        this.#fetch = fetch;
    }

    #fetch;

    answerTo(prompt) {
        return `answer: ${prompt}`;
    }

    noticed(data) {
        this.notices.push(JSON.stringify(data));
        this.#wake();
    }

    async notice(wanted, within = NOTICE_TIMEOUT) {
        const deadline = AbortSignal.timeout(within);
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
        const response = await this.#fetch(url, init);
        if (!this.cutNext || init?.method !== 'POST' || !String(init.body).includes('"tools/call"')) return response;
        this.cutNext = false;
        return new Response(cut(response.body), { status: response.status, headers: [...response.headers] });
    };
}

function dialect(task) {
    const dialects = JSON.parse(readFileSync(new URL('../dialects.json', import.meta.url)));
    return dialects[task.dialect][task.server] ?? dialects[task.dialect].ours;
}

function filled(step, call) {
    return Object.fromEntries(Object.entries(step.arguments).map(([k, v]) => [k, v === '$call' ? call : v]));
}

async function plainCall(peer, connection, tool, step, spec, call) {
    const progress = [];
    peer.cutNext = spec.cut ?? false;
    const text = await connection.call(tool, filled(step, call), note => progress.push(note.progress));
    if (spec.expect && !text.includes(spec.expect.replace('$call', call))) {
        throw new Error(`unexpected answer: ${text.slice(0, 200)}`);
    }
    if (spec.progress && progress.join() !== Array.from({ length: spec.progress }, (_, n) => n + 1).join()) {
        throw new Error(`progress was ${progress}`);
    }
    if (spec.notice) await peer.notice(spec.notice.replace('$call', call));
}

const ACTS = {
    /** What was listed is called: only the version that listed it has a tool of that name. */
    async listed(peer, connection, step, spec, call) {
        const names = (await connection.tools()).filter(name => name.startsWith(step.tool));
        if (names.length !== 1) throw new Error(`of ${step.tool} there were ${names}`);
        await plainCall(peer, connection, names[0], step, spec, call);
    },

    async listen(peer, connection, step, spec, call) {
        const subscription = await connection.listen();
        let ended;
        subscription.closed.then(how => (ended = how));
        for (let event = 0; event <= step.events; event += 1) {
            if (event === step.events) await plainCall(peer, connection, step.tool, step, spec, call);
            peer.notices = [];
            await peer.notice('tools changed');
        }
        if (ended) throw new Error(`the stream ended: ${ended}`);
        await subscription.close();
    },

    async cancel(peer, connection, step, spec, call) {
        const aborter = new AbortController();
        setTimeout(() => aborter.abort(), CANCEL_AFTER);
        const over = await connection.call(step.tool, filled(step, call), undefined, aborter.signal).then(
            () => true,
            () => false,
        );
        if (over || !aborter.signal.aborted) throw new Error('the call was over before it was cancelled');
    },
};

async function oneStep(peer, connection, step, spec, call) {
    if (step.act) await ACTS[step.act](peer, connection, step, spec, call);
    else await plainCall(peer, connection, step.tool, step, spec, call);
}

async function runFeature(peer, connection, tally, session, feature, spec) {
    for (let round = 0; round < spec.repeat; round += 1) {
        for (const [number, step] of spec.calls.entries()) {
            let error;
            for (let attempt = 0; attempt < (spec.attempts ?? 1); attempt += 1) {
                const call = `${peer.key}-${feature}-${round}-${number}-${attempt}`;
                tally.call(feature, session, call);
                try {
                    await oneStep(peer, connection, step, spec, call);
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

async function runSession(open, task, fetch, session, features, tally) {
    await sleep(session * BIRTH_INTERVAL);
    const peer = new Peer(task, session, fetch);
    const left = Object.keys(features);
    const after = task.delete ? ['delete'] : [];
    try {
        const connection = await open(task, peer);
        tally.versions[session] = connection.version;
        while (left.length > 0) {
            await runFeature(peer, connection, tally, session, left[0], features[left[0]]);
            left.shift();
        }
        const sessionId = connection.sessionId?.();
        await connection.end();
        if (task.delete) {
            const status = await statusAfterDelete(task.url, sessionId);
            tally.outcome('delete', GONE.includes(status) ? undefined : `session ${session}: ${status} after DELETE`);
        }
    } catch (problem) {
        // One dead session must not hide the others; what it did not reach counts as failed.
        for (const feature of [...left, ...after]) tally.outcome(feature, `session ${session}: ${problem}`);
    }
}

export async function main(client, open) {
    const task = JSON.parse(process.argv[2]);
    if (task.hold) {
        const { hold } = await import('./hold.mjs');
        return hold(open, task);
    }
    if (task.drive) {
        // Here because drive.mjs builds on this file.
        const { drive } = await import('./drive.mjs');
        return drive(open, task);
    }
    const features = dialect(task);
    const tally = new Tally([...Object.keys(features), ...(task.delete ? ['delete'] : [])]);
    const fetch = fetchFor(task, tally.heard);
    const numbers = [...Array(task.sessions).keys()];
    await Promise.all(numbers.map(n => runSession(open, task, fetch, n, features, tally)));
    const { versions, wire } = tally;
    console.log(JSON.stringify({ client, server: task.server, features: tally.features, versions, wire }));
    // Some SDK versions leave reconnect timers behind that would keep the process alive.
    process.exit(0);
}
