// One JSON line per executed call, session born or ended, stream resumed: the server's own account.
import { appendFileSync } from 'node:fs';

export class Journal {
    constructor(path, server) {
        this.path = path;
        this.server = server;
    }

    call(tool, call, session) {
        this.#write({ tool, call, session });
    }

    /** What was begun has come to its end: a call without this was running when its process died. */
    done(call, session) {
        this.#write({ event: 'done', done: call, session });
    }

    event(event, session) {
        this.#write({ event, session });
    }

    #write(facts) {
        appendFileSync(this.path, JSON.stringify({ server: this.server, ...facts }) + '\n');
    }
}
