//! Every kind of problem there is: `docs/admin-api.md` lists the same ones, and a test compares.

use axum::http::StatusCode;

/// A kind of problem: what programs go by.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::admin) struct Kind {
    /// The end of `type`; never renamed.
    pub(in crate::admin) slug: &'static str,
    /// The status it is answered with.
    pub(in crate::admin) status: StatusCode,
    /// `title`, which is the same for all of a kind.
    pub(in crate::admin) title: &'static str,
}

impl Kind {
    /// `type`, as it goes over the wire.
    pub(in crate::admin) fn urn(&self) -> String {
        format!("urn:dualgate:problem:{}", self.slug)
    }
}

macro_rules! kinds {
    ($($name:ident = $status:ident $slug:literal $title:literal;)*) => {
        $(pub(in crate::admin) const $name: &Kind = &Kind { slug: $slug, status: StatusCode::$status, title: $title };)*

        /// All of them, by status.
        pub(in crate::admin) const ALL: &[&Kind] = &[$($name),*];
    };
}

kinds! {
    INVALID_BODY = BAD_REQUEST "invalid-body" "The body cannot be read";
    INVALID_QUERY = BAD_REQUEST "invalid-query" "The query cannot be read";
    INVALID_PATH = BAD_REQUEST "invalid-path" "The path cannot be read";
    IF_MATCH = BAD_REQUEST "if-match" "If-Match cannot be read";
    IDEMPOTENCY_KEY = BAD_REQUEST "idempotency-key" "Idempotency-Key cannot be read";
    ACTOR = BAD_REQUEST "actor" "Who are you?";
    TWO_HOSTS = BAD_REQUEST "two-hosts" "Which host?";
    NO_VALID_TOKEN = UNAUTHORIZED "no-valid-token" "Who are you?";
    WRONG_ORIGIN = FORBIDDEN "wrong-origin" "Not from this origin";
    NO_SUCH_PATH = NOT_FOUND "no-such-path" "No such path";
    NO_SUCH_SERVICE = NOT_FOUND "no-such-service" "No such service";
    NO_SUCH_ENTRY = NOT_FOUND "no-such-entry" "No such entry";
    NO_SUCH_ROLLOUT = NOT_FOUND "no-such-rollout" "No such rollout";
    NO_SUCH_RECORD = NOT_FOUND "no-such-record" "No such record";
    NO_SUCH_GENERATION = NOT_FOUND "no-such-generation" "No such configuration";
    NO_SUCH_SINK = NOT_FOUND "no-such-sink" "No such sink";
    WRONG_METHOD = METHOD_NOT_ALLOWED "wrong-method" "The method is not served here";
    NOT_ACCEPTABLE = NOT_ACCEPTABLE "not-acceptable" "Nothing acceptable to answer with";
    BODY_TOO_SLOW = REQUEST_TIMEOUT "body-too-slow" "The body is too slow";
    OVERTAKEN = CONFLICT "overtaken-by-rollback" "A rollback came first";
    DEPLOYED_OVER = CONFLICT "deployed-over" "Something else was deployed meanwhile";
    REFUGE = CONFLICT "refuge" "A rollback needs this entry";
    FILE_IS_AUTHORITY = CONFLICT "file-is-authority" "The configuration file decides";
    NO_CONFIGURATION_FILE = CONFLICT "no-configuration-file" "There is no file";
    ENTRY_IN_USE = CONFLICT "entry-in-use" "The entry has clients";
    KEYS_ARE_CONFIGURED = CONFLICT "keys-are-configured" "The keys are in files";
    KEY_IN_USE = CONFLICT "idempotency-key-in-use" "The first request with this key is not answered yet";
    ROLLOUT_ACTIVE = CONFLICT "rollout-active" "A rollout is running";
    STALE_STEP = CONFLICT "stale-step" "The rollout is at another step";
    STANDS_STILL = CONFLICT "stands-still" "The rollout stands still";
    OBSTRUCTED = CONFLICT "obstructed" "Something is in the way";
    STRANDS_LEGACY = CONFLICT "strands-legacy" "Legacy clients would be stranded";
    OTHER_VERSION = CONFLICT "other-version" "Another version is there now";
    NOTHING_TO_APPROVE = CONFLICT "nothing-to-approve" "Nobody is asked";
    OWN_APPROVAL = CONFLICT "own-approval" "Somebody else has to approve";
    IS_STABLE = CONFLICT "is-stable" "The entry is stable already";
    BEYOND_PLAN = CONFLICT "beyond-plan" "The candidate has more already";
    STALE_REVISION = PRECONDITION_FAILED "stale-revision" "Somebody was faster";
    BODY_TOO_LARGE = PAYLOAD_TOO_LARGE "body-too-large" "The body is too large";
    NOT_JSON = UNSUPPORTED_MEDIA_TYPE "not-json" "The body must be JSON";
    WRONG_HOST = MISDIRECTED_REQUEST "wrong-host" "This host is not served here";
    SHARE = UNPROCESSABLE_ENTITY "share" "The value is not valid";
    PLAN = UNPROCESSABLE_ENTITY "plan" "The value is not valid";
    SPLIT_SUM = UNPROCESSABLE_ENTITY "split-sum" "The value is not valid";
    REASON = UNPROCESSABLE_ENTITY "reason" "The value is not valid";
    DURATION = UNPROCESSABLE_ENTITY "duration" "The value is not valid";
    VERSION = UNPROCESSABLE_ENTITY "version" "The value is not valid";
    ENDPOINT = UNPROCESSABLE_ENTITY "endpoint" "The value is not valid";
    ENDPOINT_OF_BOTH = UNPROCESSABLE_ENTITY "endpoint-of-both" "The value is not valid";
    STATE = UNPROCESSABLE_ENTITY "state" "The value is not valid";
    INVALID_CONFIGURATION = UNPROCESSABLE_ENTITY "invalid-configuration" "The value is not valid";
    KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency-key-reused" "The key belongs to another request";
    UNEXPECTED = INTERNAL_SERVER_ERROR "unexpected" "dualgate has made a mistake";
    AUDIT_UNREADABLE = INTERNAL_SERVER_ERROR "audit-unreadable" "The audit cannot be read";
    RECORDS_UNREADABLE = INTERNAL_SERVER_ERROR "records-unreadable" "The records cannot be read";
    BUSY = SERVICE_UNAVAILABLE "busy" "Too many changes wait";
    STOPPING = SERVICE_UNAVAILABLE "stopping" "dualgate is stopping";
    WAIT_TIMED_OUT = GATEWAY_TIMEOUT "wait-timed-out" "What was waited for did not happen in time";
    NOT_STORED = INSUFFICIENT_STORAGE "not-stored" "The state could not be stored";
}
