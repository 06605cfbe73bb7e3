// One thing at a time, as the lines of the standard input ask: clients/drive.py says what there is.
import { createInterface } from 'node:readline';

import { Peer } from './exercise.mjs';
import { fetchFor } from './wire.mjs';

// What did not come back in this time hangs.
const PATIENCE = 12_000;

function ordersFor(open, task, number = 0) {
    const fetch = fetchFor(task, () => {});
    let peer, connection;
    return {
        async connect() {
            peer = new Peer(task, number, fetch);
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

/** Carries out one order after the other; what does not come back in time hangs. */
export function driver(open, task, number, patience = PATIENCE) {
    const orders = ordersFor(open, task, number);
    return async order => {
        const began = performance.now();
        let timer;
        const late = new Promise(resolve => {
            timer = setTimeout(() => resolve({ ok: false, hang: true, text: 'no end to it' }), order.patience ?? patience);
        });
        const done = orders[order.do](order).then(
            text => ({ ok: true, text }),
            problem => ({ ok: false, text: String(problem) }),
        );
        const answer = await Promise.race([done, late]);
        clearTimeout(timer);
        return { seconds: (performance.now() - began) / 1000, answer };
    };
}

export async function drive(open, task) {
    const carryOut = driver(open, task);
    for await (const line of createInterface({ input: process.stdin })) {
        console.log(JSON.stringify(await carryOut(JSON.parse(line))));
    }
    process.exit(0);
}
