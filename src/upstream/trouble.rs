//! What goes wrong on the way to an endpoint.

use std::fmt;
use std::io;

use crate::http1::Fault;

/// Why there is no answer, by how far the request got.
#[derive(Debug)]
pub enum Trouble {
    /// No byte of the request left: it may go elsewhere.
    Unsent(String),
    /// Some of it may have been read and acted upon.
    Lost {
        /// What happened.
        cause: Cause,
        /// Whether bytes of an answer had come.
        heard: bool,
    },
}

/// What broke a connection off.
#[derive(Debug)]
pub enum Cause {
    /// The endpoint closed it.
    Closed,
    /// The system says so.
    Io(io::Error),
    /// What came is no answer.
    Form(Fault),
    /// Where hyper speaks to the endpoint.
    Library(hyper::Error),
}

impl Cause {
    /// Whether the endpoint said something, and it was not HTTP.
    pub fn is_parse(&self) -> bool {
        match self {
            Self::Form(_) => true,
            Self::Library(error) => error.is_parse(),
            Self::Closed | Self::Io(_) => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection was closed before the end of the answer"),
            Self::Io(error) => error.fmt(f),
            Self::Form(fault) => fault.fmt(f),
            Self::Library(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Cause {}
