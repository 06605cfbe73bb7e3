//! Every metric, once. `docs/metrics.md` is compared with this list by a test.

/// A metric: its name without `_total`, what it counts, its labels.
pub struct Metric {
    /// The name; counters get `_total` from the exposition format.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// The labels, in order.
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($constant:ident = $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Metric =
            Metric { name: $name, help: $help, labels: &[$($label),*] };)*
        /// All of them.
        pub const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    REQUESTS = "dualgate_requests" ["service", "entry", "outcome"] "Requests by outcome, read from their answers; each request of a batch counts";
    FIRST_BYTE = "dualgate_request_duration_seconds" ["service", "entry"] "Time from the request's head to the first byte of its answer";
    RESULT = "dualgate_result_duration_seconds" ["service", "entry"] "Time from the request's head to the JSON-RPC answer of each request in it";
    ENDPOINT_REQUESTS = "dualgate_endpoint_requests" ["service", "entry", "endpoint", "outcome"] "Requests by the endpoint that they were sent to";
    TOOL_CALLS = "mcp_tool_calls" ["service", "entry", "tool_name", "outcome"] "Tool calls that ended, by outcome; `other` takes what goes beyond 200 names";
    TOOL_TIME = "mcp_tool_duration_seconds" ["service", "entry", "tool_name"] "Time from a tool call to its result";
    SESSIONS = "dualgate_sessions" ["service", "entry"] "Legacy sessions seen in the last 30 minutes and not ended";
    SESSIONS_ENDED = "dualgate_sessions_ended" ["service", "entry"] "Sessions that were ended because their entry was to be left";
    REHOMED = "dualgate_rehomed" ["service", "from", "to", "result"] "Moves of sessions from an entry to another, or to another endpoint of the same: moved; refused, where the session may not go; failed, where the new place did not take it";
    REMEMBERED = "dualgate_sessions_remembered" ["service"] "Sessions that are remembered so that they can be opened again, since their ids do not hold it";
    FORGOTTEN = "dualgate_sessions_forgotten" ["service"] "Such sessions that were forgotten before their end, there being too many (sessions.remember): they can be moved no more";
    STREAMS = "dualgate_streams" ["service", "entry", "kind"] "Open event streams: listen (GET) and call (POST)";
    STREAMS_BROKEN = "dualgate_streams_broken" ["service", "entry", "kind"] "Event streams that the server broke off or fell silent on; where nobody waited for an answer, no request has failed";
    SPLIT_TARGET = "dualgate_split_target" ["service", "entry"] "Share of clients in force, 0 to 1";
    SPLIT_ACHIEVED = "dualgate_split_achieved" ["service", "entry", "unit"] "Share achieved: of births and requests since the split was set, of sessions and streams now";
    ENDPOINT_UP = "dualgate_endpoint_up" ["service", "entry", "endpoint"] "1 up, 0 down, 0.5 not yet known";
    IN_FLIGHT = "dualgate_requests_in_flight" ["service", "entry", "endpoint"] "Requests and streams that an endpoint holds";
    ROLLBACKS = "dualgate_rollbacks" ["service", "trigger"] "Rollbacks, by what set them off";
    ROLLOUT_STEP = "dualgate_rollout_step" ["service", "phase"] "Step of the rollout that runs, from 1, by its phase; nothing where none runs; paused and frozen wait for somebody";
    VERDICT = "dualgate_verdict" ["service", "verdict"] "1 for what the judge thinks of a candidate that has clients: pass, fail or unsure; nothing where none has any";
    REVISION = "dualgate_revision" ["service"] "Revision in force";
    DURABLE = "dualgate_state_durable" ["service"] "1 when the disk has the state in force; 0 needs attention";
    KEY_SKEW = "dualgate_key_dominance" ["service"] "Share of keyed requests that one client key carries, when more than half; else 0";
    UNKNOWN_IDS = "dualgate_unknown_session_ids" ["service"] "Requests with a session id that does not open: answered 404, never forwarded";
    UNPEEKED = "dualgate_bodies_over_peek_limit" ["service"] "Bodies too long to look at: they follow the client key";
    UNDELIVERED = "dualgate_undelivered_messages" ["service"] "Notifications and answers of clients that could not be delivered and were answered 202";
    PINS = "dualgate_pins" ["service", "kind"] "Words of the modern era that lead back to their server: request_state, task, cursor; list: clients that call by a list";
    PINS_EVICTED = "dualgate_pins_evicted" ["service"] "Such words that were pushed out before their time, there being too many";
    PINS_DURABLE = "dualgate_pins_durable" ["service"] "1 when the disk has such words but for those of the last second; 0 needs attention";
    CALLS_BY_CATALOGUE = "dualgate_calls_by_catalogue" ["service", "entry"] "Tool calls that went to this entry because it alone lists the tool";
    CONNECTIONS = "dualgate_client_connections" ["worker"] "Open client connections of a traffic worker";
    SNAPSHOT = "dualgate_snapshot" [] "Number of the snapshot in force in this process";
    REFUSED = "dualgate_refused" ["reason"] "Requests and connections refused by limits or form, before any service";
    TLS_HANDSHAKES = "dualgate_tls_handshakes" ["listener", "result"] "TLS handshakes of clients: done, failed, timeout";
    TLS_RELOADS = "dualgate_tls_reloads" ["scope", "result"] "Changed files of TLS by listener and service: done, when something new was taken; failed, when something of it was not in order and its old one stays";
    TLS_EXPIRY = "dualgate_tls_certificate_expiry_seconds" ["listener", "name"] "Unix time when a listener's certificate ends, by its file";
    CONFIG_GENERATION = "dualgate_config_generation" [] "Number of the configuration in force";
    CONFIG_RELOADS = "dualgate_config_reloads" ["result"] "Configurations since the start that were put in force (done) or refused";
    CONFIG_REFUSED = "dualgate_config_last_reload_failed" [] "1 while the last configuration that was wanted is not the one in force, being refused; needs attention";
    NOTIFICATIONS = "dualgate_notifications" ["sink", "result"] "Notifications by sink: delivered; failed, of tries; dead, when given up, which needs attention";
    NOTIFICATIONS_WAITING = "dualgate_notifications_waiting" ["sink"] "Notifications that a sink has not taken yet";
    AUDIT_BEHIND = "dualgate_audit_behind" [] "Audit lines that are not on the disk yet or were lost; more than a few need attention";
    LOG_DROPPED = "dualgate_log_lines_dropped" [] "Log lines that were dropped because nobody read the log";
    MEMORY = "process_resident_memory_bytes" [] "Resident memory";
    DESCRIPTORS = "process_open_fds" [] "Open file descriptors";
    CPU = "process_cpu_seconds" [] "User and system time";
    INFO = "dualgate_build_info" ["version"] "1, with the version of this binary";
}
