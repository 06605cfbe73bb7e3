//! Where an answer comes from: one server, or wherever its session is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Incoming};

use super::body::{Next, Piece};
use super::rehome::{ChannelSplice, News, Splice, Tagged, Why};
use super::upload::Upload;
use crate::upstream::{Cause, Flow, Lease};

/// Where an answer comes from.
pub(super) enum Source {
    /// A request that was sent whole.
    Wire(Box<Flow>),
    /// One whose upload may still go on.
    Upload { incoming: Incoming, lease: Option<Lease<Box<Upload>>> },
    /// What has been read already, and what follows.
    Early { bytes: Bytes, rest: Box<Self> },
    /// A later binding's answer to a call: its ids say their epoch.
    Tagged(Box<Tagged>),
    /// A session's GET stream, wherever the session lives.
    Spliced(Box<Splice>),
    /// The same of HTTP+SSE, which is the session.
    Channel(Box<ChannelSplice>),
    /// Nothing comes, and nothing ends.
    None,
}

impl Source {
    /// Whether all of it came with its head.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Self::Wire(flow) if flow.is_here())
    }

    /// As [`Writer`](super::writer::Writer) does.
    pub(super) fn look_ahead(&self) {
        match self {
            Self::Wire(flow) => flow.look_ahead(),
            Self::Spliced(splice) => splice.look_ahead(),
            _ => {}
        }
    }

    /// The next part; nothing at the end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        if let Self::Early { bytes, rest } = self {
            let bytes = std::mem::take(bytes);
            *self = std::mem::replace(rest, Self::None);
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Piece::Apart(bytes))));
            }
        }
        match self {
            Self::Early { .. } | Self::None => Poll::Pending,
            Self::Tagged(tagged) => tagged.poll(context, buffer),
            Self::Spliced(splice) => splice.poll(context, buffer),
            Self::Channel(splice) => splice.poll(context, buffer),
            Self::Wire(flow) => flow.poll(context, buffer).map(|next| next.map(|found| found.map(Piece::Here)).transpose()),
            Self::Upload { incoming, .. } => loop {
                return Poll::Ready(match ready!(Pin::new(&mut *incoming).poll_frame(context)) {
                    // Trailers of an answer are dropped: they were not announced to this client.
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => Some(Ok(Piece::Apart(data))),
                        Err(_) => continue,
                    },
                    Some(Err(error)) => Some(Err(Cause::Library(error))),
                    None => None,
                });
            },
        }
    }

    /// Whether nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Early { bytes, rest } => bytes.is_empty() && rest.is_done(),
            Self::Tagged(_) | Self::Spliced(_) | Self::Channel(_) | Self::None => false,
            Self::Wire(flow) => flow.is_done(),
            Self::Upload { incoming, .. } => incoming.is_end_stream(),
        }
    }

    /// Whether it goes on elsewhere, or is about to.
    pub(super) fn leave(&mut self, why: Why) -> bool {
        match self {
            Self::Spliced(splice) => splice.leave(why),
            Self::Channel(splice) => splice.leave(why),
            _ => false,
        }
    }

    /// Its server has fallen silent. Whether it goes on elsewhere, and what was asked there has failed.
    pub(super) fn lose(&mut self) -> bool {
        if let Self::Channel(splice) = self { splice.lose() } else { false }
    }

    /// Whether it is a session's stream that comes from more than one server now.
    pub(super) fn hears_others(&self) -> bool {
        matches!(self, Self::Spliced(splice) if splice.hears_others())
    }

    /// Whether it has ended because its client has lost it, and goes on elsewhere.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Spliced(splice) if splice.is_lost())
    }

    /// The session's stream has brought these events, by the hashes of their ids.
    pub(super) fn note_heard(&self, ids: impl Iterator<Item = u64>) {
        if let Self::Spliced(splice) = self {
            splice.note_heard(ids);
        }
    }

    /// What its owner has to know, once.
    pub(super) fn take_news(&mut self) -> Option<News> {
        match self {
            Self::Spliced(splice) => splice.take_news(),
            Self::Channel(splice) => splice.take_news(),
            _ => None,
        }
    }

    /// How long it still is, where that is said.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Early { bytes, rest } => rest.length().map(|rest| rest + bytes.len() as u64),
            Self::Tagged(_) | Self::Spliced(_) | Self::Channel(_) | Self::None => None,
            Self::Wire(flow) => flow.length(),
            Self::Upload { incoming, .. } => incoming.size_hint().exact(),
        }
    }
}
