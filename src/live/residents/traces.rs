//! What is remembered of a session beyond its sealed id, as bytes.
//!
//! ```text
//! flags | fields       field: tag | length (4) | bytes        a tag below 128 that is not known is passed over
//! ```

use crate::domain::Entry;
use crate::mcp::essentials::Essentials;
use crate::mcp::{SessionPin, StandsFor};

const OVER: u8 = 1;
const INCOMPLETE: u8 = 2;

const ESSENTIALS: u8 = 1;
const LEVEL: u8 = 2;
const SUBSCRIPTION: u8 = 3;
const PLACE: u8 = 4;

/// What is remembered of a session beyond its sealed id. There is no place in it for a credential of its client's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Its client has ended it.
    pub is_over: bool,
    /// There was more to it than is remembered: it cannot be opened again.
    pub is_incomplete: bool,
    /// How it was opened, where its id has no room for that.
    pub essentials: Option<Essentials>,
    /// `params` of the last `logging/setLevel` that was granted.
    pub level: Option<Box<str>>,
    /// `params` of each `resources/subscribe` that holds.
    pub subscriptions: Vec<Box<str>>,
    /// Where it lives, if it was moved.
    pub place: Option<SessionPin>,
}

impl Traces {
    /// Whether its id says as much.
    pub fn is_nothing(&self) -> bool {
        let Self { is_over, is_incomplete, essentials, level, subscriptions, place } = self;
        !is_over && !is_incomplete && essentials.is_none() && level.is_none() && subscriptions.is_empty() && place.is_none()
    }

    /// Writes them.
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.is_over { OVER } else { 0 } | if self.is_incomplete { INCOMPLETE } else { 0 };
        let mut out = vec![flags];
        let mut put = |tag: u8, bytes: &[u8]| {
            // All of them are bounded far below.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            out.push(tag);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        };
        self.essentials.iter().for_each(|essentials| put(ESSENTIALS, &essentials.encode()));
        self.level.iter().for_each(|params| put(LEVEL, params.as_bytes()));
        self.subscriptions.iter().for_each(|params| put(SUBSCRIPTION, params.as_bytes()));
        self.place.iter().for_each(|place| put(PLACE, &encode_place(place)));
        out
    }

    /// Reads them; nothing where they are not what [`Self::encode`], of this version or of a compatible one, has written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, mut rest) = bytes.split_first()?;
        let mut read = Self { is_over: flags & OVER != 0, is_incomplete: flags & INCOMPLETE != 0, ..Self::default() };
        while let Some((tag, after)) = rest.split_first() {
            let (field, after) = counted::<4>(after)?;
            rest = after;
            match *tag {
                ESSENTIALS => read.essentials = Some(Essentials::decode(field)?),
                LEVEL => read.level = Some(str::from_utf8(field).ok()?.into()),
                SUBSCRIPTION => read.subscriptions.push(str::from_utf8(field).ok()?.into()),
                PLACE => read.place = Some(decode_place(field)?),
                0..128 => {}
                128.. => return None,
            }
        }
        Some(read)
    }
}

/// Whether a text says of a session that it was ended.
pub(super) fn is_over(text: &[u8]) -> bool {
    text.first().is_some_and(|flags| flags & OVER != 0)
}

/// `flags | revision (8) | name length (2) | endpoint name | upstream id`
fn encode_place(pin: &SessionPin) -> Vec<u8> {
    let is_uri = pin.stands_for == StandsFor::EndpointUri;
    let flags = u8::from(pin.entry == Entry::Secondary) | u8::from(pin.upstream.is_some()) << 1 | u8::from(is_uri) << 2;
    let mut out = vec![flags];
    out.extend_from_slice(&pin.revision.to_be_bytes());
    // Names are at most a file's.
    out.extend_from_slice(&u16::try_from(pin.endpoint.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(pin.endpoint.as_bytes());
    out.extend_from_slice(pin.upstream.as_deref().unwrap_or_default().as_bytes());
    out
}

fn decode_place(bytes: &[u8]) -> Option<SessionPin> {
    let (flags, rest) = bytes.split_first()?;
    let (revision, rest) = rest.split_first_chunk()?;
    let (endpoint, upstream) = counted::<2>(rest)?;
    Some(SessionPin {
        stands_for: if flags & 4 == 0 { StandsFor::SessionId } else { StandsFor::EndpointUri },
        entry: if flags & 1 == 0 { Entry::Primary } else { Entry::Secondary },
        endpoint: str::from_utf8(endpoint).ok()?.into(),
        revision: u64::from_be_bytes(*revision),
        upstream: if flags & 2 == 0 { None } else { Some(str::from_utf8(upstream).ok()?.into()) },
    })
}

/// What is behind a length of so many bytes, and the rest.
fn counted<const WIDTH: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<WIDTH>()?;
    rest.split_at_checked(length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}
