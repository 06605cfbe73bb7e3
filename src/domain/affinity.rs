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

/// An endpoint's part in rendezvous (highest random weight hashing, Thaler and Ravishankar 1998): the endpoint with the
/// greatest weight serves the client, and removing another endpoint moves nobody. The endpoint's *name* is hashed, so a
/// new address moves nobody either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendezvous(u64);

impl Rendezvous {
    /// Of the endpoint of this name; to be made once, and asked for every client.
    pub fn of(endpoint_name: &str) -> Self {
        let mut hasher = SipHasher24::new_with_key(b"dualgate.rendezv");
        hasher.write(endpoint_name.as_bytes());
        Self(hasher.finish())
    }

    /// Its weight for a client. Both hashes are uniform; the mixing (`fmix64` of MurmurHash3, Appleby, a bijection)
    /// makes the order of two endpoints for one client tell nothing of their order for another.
    pub fn weight(self, key: ClientKey) -> u64 {
        let mixed = self.0 ^ key.hash();
        let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ mixed >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_share_of_the_clients_and_one_that_goes_leaves_it_to_all_others_alike() {
        let names: Vec<Rendezvous> = (0..10).map(|n| Rendezvous::of(&format!("notes-{n}"))).collect();
        let clients = (0..20_000u32).map(|n| ClientKey::new(&KeySource::ApiKey, &n.to_le_bytes()));
        let (mut first, mut second) = ([0; 10], [0; 10]);
        for key in clients {
            let mut order: Vec<usize> = (0..10).collect();
            order.sort_by_key(|at| std::cmp::Reverse(names[*at].weight(key)));
            first[order[0]] += 1;
            if order[0] == 3 {
                second[order[1]] += 1;
            }
        }
        // Five standard deviations of the binomial law: 2,000 of 20,000, and a ninth of those.
        assert!(first.iter().all(|count| (1_788..=2_212).contains(count)), "{first:?}");
        let heirs: Vec<i32> = second.into_iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, count)| count).collect();
        assert!(heirs.iter().all(|count| (152..=292).contains(count)), "{heirs:?}");
    }
}
