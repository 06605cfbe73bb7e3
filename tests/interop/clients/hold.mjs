// Many sessions held open, each making calls all the while: clients/hold.py says how.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { driver } from './drive.mjs';

const OPEN_WITHIN_MS = 40_000;
const AGAIN_MS = 400;
const ASK_AGAIN = 1.6;
const LAST_WITHIN = 15;

const now = () => Date.now() / 1000;

class Held {
    calls = [];
    heard = {};
    opened = null;
    lost = null;
    #orders = [];
    #wake = () => {};

    constructor(open, task, number) {
        this.number = number;
        this.told = task.hold;
        this.key = `${task.prefix}-${number}`;
        const url = this.told.urls[number % this.told.urls.length];
        this.carryOut = driver(open, { ...task, url }, number, this.told.patience * 1000);
    }

    async open() {
        await sleep(this.number * this.told.births * 1000);
        this.opened = (await this.carryOut({ do: 'connect', patience: OPEN_WITHIN_MS })).answer;
    }

    order(what) {
        this.#orders.push(what);
        this.#wake();
    }

    async #next(pause) {
        if (this.#orders.length === 0) {
            const woken = new Promise(resolve => (this.#wake = resolve));
            const stop = new AbortController();
            await Promise.race([woken, sleep(pause, undefined, { signal: stop.signal }).catch(() => {})]);
            stop.abort();
        }
        return this.#orders.shift();
    }

    async call(tool, args) {
        const name = `${this.key}-${this.calls.length}`;
        const made = { session: this.number, call: name, tool, start: now() };
        const { answer } = await this.carryOut({ do: 'call', tool, arguments: { call: name, ...args } });
        const ok = answer.ok && answer.text === name;
        this.calls.push({ ...made, end: now(), ok, error: ok ? '' : String(answer.text).slice(0, 300) });
        return [name, ok];
    }

    async work() {
        const { ms } = this.told;
        return (await this.call('work', { ms: ms[(this.number + this.calls.length) % ms.length] }))[1];
    }

    async notify({ mark, within }) {
        const began = now();
        for (let left = within; left > 0; left = began + within - now()) {
            const [name] = await this.call('notify', {});
            const { answer } = await this.carryOut({ do: 'notice', text: name, within: Math.min(ASK_AGAIN, left) });
            if (answer.ok) {
                this.heard[mark] = now() - began;
                return;
            }
            await sleep(200);
        }
    }

    async live(answered) {
        let right = true;
        for (;;) {
            const order = await this.#next(right ? this.told.pace * (500 + 1000 * Math.random()) : AGAIN_MS);
            if (!order) {
                right = await this.work();
            } else if (order.do === 'stop') {
                return this.#lastWords();
            } else {
                await this.notify(order);
                answered();
            }
        }
    }

    async #lastWords() {
        this.lost = true;
        const began = now();
        for (let tried = 0; tried < this.told.last; tried += 1) {
            if (await this.work()) {
                this.lost = false;
                return;
            }
            if (now() - began > LAST_WITHIN) return;
            await sleep(AGAIN_MS);
        }
    }

    report() {
        const { number, opened, lost, heard, calls } = this;
        return { session: number, opened, lost, anew: false, heard, calls };
    }
}

/** Resolves when it has been called `times` times. */
function countdown(times) {
    let done;
    const all = new Promise(resolve => (done = resolve));
    const called = () => {
        times -= 1;
        if (times <= 0) done();
    };
    if (times === 0) done();
    return [all, called];
}

export async function hold(open, task) {
    // What an SDK leaves unhandled would end the process and with it every session; the calls show what it is worth.
    process.on('unhandledRejection', problem => console.error('unhandled', problem));
    const tell = what => new Promise(resolve => process.stdout.write(JSON.stringify(what) + '\n', resolve));
    const sessions = Array.from({ length: task.sessions }, (_, number) => new Held(open, task, number));
    await Promise.all(sessions.map(session => session.open()));
    const living = sessions.filter(session => session.opened.ok);
    const failed = sessions.filter(session => !session.opened.ok).map(session => session.opened.text);
    await tell({ opened: living.length, failed: failed.slice(0, 5) });
    let answered = () => {};
    const lives = living.map(session => session.live(() => answered()));
    for await (const line of createInterface({ input: process.stdin })) {
        const order = JSON.parse(line);
        const [all, called] = countdown(living.length);
        answered = called;
        for (const session of living) session.order(order);
        if (order.do === 'stop') {
            await Promise.all(lives);
            await tell({ sessions: sessions.map(session => session.report()) });
            break;
        }
        await all;
        await tell({ heard: living.filter(session => order.mark in session.heard).length });
    }
    process.exit(0);
}
