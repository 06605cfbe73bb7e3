// One thing at a time, as the lines of the standard input ask: clients/drive.py says what there is.
import { createInterface } from 'node:readline';

import { Peer } from './exercise.mjs';
import { fetchFor } from './wire.mjs';

// What did not come back in this time hangs.
const PATIENCE = 12_000;

function ordersFor(open, task) {
    const fetch = fetchFor(task, () => {});
    let peer, connection;
    return {
        async connect() {
            peer = new Peer(task, 0, fetch);
            connection = await open(task, peer);
            return connection.version;
        },
        call(order) {
            const signal = order.within && AbortSignal.timeout(order.within * 1000);
            return connection.call(order.tool, order.arguments, () => {}, signal);
        },
        notice: order => peer.notice(order.text, order.within * 1000),
        notify: () => connection.notify(),
        end: () => connection.end(),
    };
}

export async function drive(open, task) {
    const orders = ordersFor(open, task);
    for await (const line of createInterface({ input: process.stdin })) {
        const order = JSON.parse(line);
        const began = performance.now();
        let timer;
        const late = new Promise(resolve => {
            timer = setTimeout(() => resolve({ ok: false, hang: true, text: 'no end to it' }), PATIENCE);
        });
        const done = orders[order.do](order).then(
            text => ({ ok: true, text }),
            problem => ({ ok: false, text: String(problem) }),
        );
        const answer = await Promise.race([done, late]);
        clearTimeout(timer);
        console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000, answer }));
    }
    process.exit(0);
}
