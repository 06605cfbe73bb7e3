//! What tells one client from another.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// Where a client key is read from, in the words of the configuration (`[service.affinity] keys`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `api-key`: `X-API-Key`, `Api-Key`, or a bearer token that is no JWT.
    ApiKey,
    /// `jwt:CLAIM`: a claim of a bearer JWT, decoded for affinity only, never trusted.
    Jwt(String),
    /// `header:NAME`: the value of a header of the operator's choice, name in lower case.
    Header(String),
    /// `address`: the client's address. Never used for legacy sessions, which have births.
    Address,
}

impl KeySource {
    /// Reads one element of `keys`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a client key: {why}");
        match text.split_once(':') {
            None if text == "api-key" => Ok(Self::ApiKey),
            None if text == "address" => Ok(Self::Address),
            Some(("jwt", claim)) if !claim.is_empty() => Ok(Self::Jwt(claim.to_owned())),
            Some(("header", name)) => match http::HeaderName::try_from(name) {
                Ok(name) => Ok(Self::Header(name.as_str().to_owned())),
                Err(_) => Err(wrong("after `header:` comes the name of a header")),
            },
            _ => Err(wrong("one of api-key, jwt:CLAIM, header:NAME, address")),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey => f.write_str("api-key"),
            Self::Jwt(claim) => write!(f, "jwt:{claim}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Address => f.write_str("address"),
        }
    }
}

/// A client's key, hashed at once: what the client sent is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

impl ClientKey {
    /// Hashes a value together with its source, so that an address never meets an API key of the
    /// same spelling.
    pub fn new(source: &KeySource, value: &[u8]) -> Self {
        // The key is fixed because this hash only shortens: the salt of the service decides the
        // position, and that one is secret.
        let mut hasher = SipHasher24::new_with_key(b"dualgate.client.");
        match source {
            KeySource::ApiKey => hasher.write_u8(1),
            KeySource::Jwt(claim) => {
                hasher.write_u8(2);
                hasher.write(claim.as_bytes());
            }
            KeySource::Header(name) => {
                hasher.write_u8(3);
                hasher.write(name.as_bytes());
            }
            KeySource::Address => hasher.write_u8(4),
        }
        hasher.write_u8(0);
        hasher.write(value);
        Self(hasher.finish())
    }

    /// The 64 bits.
    pub fn hash(self) -> u64 {
        self.0
    }
}

/// Rendezvous weight (highest random weight hashing, Thaler and Ravishankar 1998) of an endpoint
/// for a client: the endpoint with the greatest weight serves the client, and removing another
/// endpoint moves nobody. The endpoint's *name* is hashed, so a new address moves nobody either.
pub fn rendezvous_weight(key: ClientKey, endpoint_name: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_key(b"dualgate.rendezv");
    hasher.write_u64(key.hash());
    hasher.write(endpoint_name.as_bytes());
    hasher.finish()
}
