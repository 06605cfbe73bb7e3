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
    /// Not answered as asked, and this is whose doing it was.
    Failed(Blame),
}

impl Outcome {
    /// Every outcome, in the order of its index.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Failed(Blame::Client), Self::Failed(Blame::Entry), Self::Failed(Blame::Proxy)];

    /// The value of the label `outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(Blame::Client) => "client_fault",
            Self::Failed(Blame::Entry) => "entry_fault",
            Self::Failed(Blame::Proxy) => "proxy_fault",
        }
    }

    /// Place in [`Self::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Failed(Blame::Client) => 1,
            Self::Failed(Blame::Entry) => 2,
            Self::Failed(Blame::Proxy) => 3,
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
