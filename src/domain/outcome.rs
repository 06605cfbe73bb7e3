//! How a request ended, and whose doing that was.

/// Whose fault a failure is. Only the entry's faults count against an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The client sent what it must not, or left.
    Client,
    /// The entry failed, refused wrongly, or fell silent.
    Entry,
    /// We did: overload, shutdown, a bug.
    Proxy,
}

/// The outcome of one request, as the metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Answered with a result that says `isError`: a tool failed. Often ordinary (a model gave bad
    /// arguments), so it is compared between versions, not with zero.
    ToolError,
    /// Answered with a JSON-RPC error that is the server's.
    ProtocolError,
    /// Answered in a form that cannot be read here, such as an encoded body.
    Opaque,
    /// Not answered as asked, and this is whose doing it was.
    Failed(Blame),
}

impl Outcome {
    /// Every outcome, in the order of its index.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::ToolError,
        Self::ProtocolError,
        Self::Opaque,
        Self::Failed(Blame::Client),
        Self::Failed(Blame::Entry),
        Self::Failed(Blame::Proxy),
    ];

    /// The value of the label `outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::ProtocolError => "protocol_error",
            Self::Opaque => "opaque",
            Self::Failed(Blame::Client) => "client_fault",
            Self::Failed(Blame::Entry) => "entry_fault",
            Self::Failed(Blame::Proxy) => "proxy_fault",
        }
    }

    /// Place in [`Self::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::ToolError => 1,
            Self::ProtocolError => 2,
            Self::Opaque => 3,
            Self::Failed(Blame::Client) => 4,
            Self::Failed(Blame::Entry) => 5,
            Self::Failed(Blame::Proxy) => 6,
        }
    }

    /// Whether it ended by the entry's doing, well or not: what client or proxy did says nothing of an entry.
    pub fn is_entrys(self) -> bool {
        !matches!(self, Self::Failed(Blame::Client | Blame::Proxy))
    }

    /// Whether it counts against the entry.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::ToolError | Self::ProtocolError | Self::Failed(Blame::Entry))
    }

    /// What a JSON-RPC error says by its code. What the client asked wrongly is the client's: parse
    /// error, invalid request, unknown method, invalid params (JSON-RPC 2.0, 5.1), resource not found
    /// and URL elicitation required (2025-11-25), and the refusals of 2026-07-28 (header mismatch,
    /// missing capability, unsupported version). Everything else is the server's.
    pub fn of_error_code(code: Option<i64>) -> Self {
        match code {
            Some(-32700 | -32602..=-32600 | -32002 | -32042 | -32022..=-32020) => Self::Failed(Blame::Client),
            _ => Self::ProtocolError,
        }
    }

    /// What an HTTP status of the entry says by itself. 4xx is the client's (MCP clients and
    /// servers use 400, 404, 405, 409 as answers, not as failures), 5xx the entry's.
    pub fn of_status(status: u16) -> Self {
        match status {
            500.. => Self::Failed(Blame::Entry),
            400..=499 => Self::Failed(Blame::Client),
            _ => Self::Ok,
        }
    }
}
