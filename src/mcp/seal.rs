//! Sealed session ids: stickiness without a table.
//!
//! The id that a client holds is a token that only the proxy can read and nobody can make or
//! alter: an AEAD (AES-128-GCM, NIST SP 800-38D) over where the session lives. It survives a
//! restart of the proxy and is understood by every replica that has the key.
//!
//! ```text
//! base64url( version | key id (4) | nonce (12) | ciphertext | tag (16) )        <= 1,024 characters
//! plaintext: flags | revision (8) | name length | endpoint name | id length (2) | upstream id | fields
//! field:     tag | length (2) | bytes        a tag below 128 that is not known is passed over
//!            1: the essentials of the session, to open it again elsewhere
//! ```
//!
//! The header and the service's name are authenticated with it, so an id of one service opens in
//! no other. Nonces count up from a random 96-bit start per process, so the 2^32 bound of random
//! nonces does not apply: even 16,000 starts under one key, 2^32 ids each, meet with a chance of
//! about 2^-36.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt as HkdfSalt};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use smallvec::SmallVec;
use thiserror::Error;

use super::brief::Brief;
use super::essentials::Essentials;
use super::token;
use crate::domain::{Entry, Salt};

/// The longest id a client is given, in characters.
pub const LONGEST: usize = 1024;

const VERSION: u8 = 1;
const KEY_ID: usize = 4;
const TAG: usize = 16;
const HEADER: usize = 1 + KEY_ID + NONCE_LEN;

/// The field of [`Essentials`].
const ESSENTIALS: u8 = 1;

/// Bytes of the longest token, and of one that is no longer than nearly all are.
const LONGEST_TOKEN: usize = LONGEST / 4 * 3;
const COMMON_TOKEN: usize = 192;

/// An endpoint's name, or a server's id: UUIDs in all their spellings have 45 characters at most.
pub type Name = Brief<52>;

/// What a token stands in for. A token of one kind does not open as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandsFor {
    /// The server's `Mcp-Session-Id` (2025-03-26).
    SessionId,
    /// Path and query of the server's `endpoint` event (2024-11-05, HTTP with SSE).
    EndpointUri,
}

/// Where a session lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPin {
    /// What the token stands in for.
    pub stands_for: StandsFor,
    /// The entry it was born on.
    pub entry: Entry,
    /// The name of the endpoint that holds it.
    pub endpoint: Name,
    /// The revision of its birth.
    pub revision: u64,
    /// The server's own id or URI; absent where the server issued none (a stateless legacy server),
    /// and the id exists only to keep the client on its version.
    pub upstream: Option<Name>,
}

/// The server's session id or endpoint URI is too long to be sealed into [`LONGEST`] characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the server's session id, or endpoint URI, has {0} bytes, too many to fit a sealed id of 1024 characters")]
pub struct TooLong(pub usize);

/// The content of a seal key file: 32 bytes from which all keys are derived.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// From random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the one line of a key file: 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text.trim()).map_err(|error| format!("not base64: {error}"))?;
        let length = bytes.len();
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| format!("{length} bytes, where a seal key has 32 (write one with `openssl rand -base64 32`)"))
    }

    /// Reads all lines of a file of several keys, of which there is at least one.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let keys: Vec<Self> = lines
            .map(|(at, line)| Self::parse(line).map_err(|what| format!("line {}: {what}", at + 1)))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(keys) }
    }

    /// The line of a key file.
    pub fn to_line(&self) -> String {
        format!("{}\n", STANDARD.encode(self.0))
    }
}

/// The keys: the first seals, all open.
pub struct SealKeys {
    /// Never empty.
    keys: ArcSwap<Vec<Arc<SealKey>>>,
    nonce_start: u128,
    sealed: AtomicU64,
}

struct SealKey {
    id: [u8; KEY_ID],
    aead: LessSafeKey,
    salts: hmac::Key,
    residents: hmac::Key,
}

impl SealKeys {
    /// Keys from secrets, of which there is at least one, and a random start of the nonces.
    pub fn new(secrets: &[Secret], nonce_start: [u8; NONCE_LEN]) -> Self {
        assert!(!secrets.is_empty(), "there is always a key to seal with");
        let mut start = [0; 16];
        start[4..].copy_from_slice(&nonce_start);
        let keys = secrets.iter().map(|secret| Arc::new(SealKey::derive(secret))).collect::<Vec<_>>();
        Self { keys: ArcSwap::from_pointee(keys), nonce_start: u128::from_be_bytes(start), sealed: AtomicU64::new(0) }
    }

    /// Seals with this key from now on; those of before still open. Gives how many keys open then.
    pub fn seal_with(&self, secret: &Secret) -> usize {
        let key = Arc::new(SealKey::derive(secret));
        let before = self.keys.rcu(|keys| std::iter::once(&key).chain(keys.iter()).cloned().collect::<Vec<_>>());
        before.len() + 1
    }

    /// The id of the key that seals, in hex. It is no secret: every sealed id begins with it.
    pub fn sealing(&self) -> String {
        self.keys.load()[0].id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Seals the pin into an id for clients of this service.
    pub fn seal(&self, service: &str, pin: &SessionPin) -> Result<String, TooLong> {
        self.seal_with_field(service, pin, &[])
    }

    /// The same, with what is needed to open the session again, and whether that is in it: it is left out where the id
    /// would be longer than [`LONGEST`].
    pub fn seal_whole(&self, service: &str, pin: &SessionPin, whole: Option<&Essentials>) -> Result<(String, bool), TooLong> {
        if let Some(essentials) = whole.map(Essentials::encode)
            && let Ok(length) = u16::try_from(essentials.len())
            && let field = [&[ESSENTIALS][..], &length.to_be_bytes(), &essentials].concat()
            && let Ok(id) = self.seal_with_field(service, pin, &field)
        {
            return Ok((id, true));
        }
        Ok((self.seal(service, pin)?, false))
    }

    fn seal_with_field(&self, service: &str, pin: &SessionPin, field: &[u8]) -> Result<String, TooLong> {
        let keys = self.keys.load();
        let key = &keys[0];
        let upstream = pin.upstream.as_deref();
        let too_long = || TooLong(upstream.map_or(0, str::len));
        let nonce = self.next_nonce();
        let mut token = SmallVec::<[u8; COMMON_TOKEN]>::new();
        token.push(VERSION);
        token.extend_from_slice(&key.id);
        token.extend_from_slice(&nonce);
        let is_uri = pin.stands_for == StandsFor::EndpointUri;
        token.push(u8::from(pin.entry == Entry::Secondary) | u8::from(upstream.is_some()) << 1 | u8::from(is_uri) << 2);
        token.extend_from_slice(&pin.revision.to_be_bytes());
        token.push(u8::try_from(pin.endpoint.len()).map_err(|_| too_long())?);
        token.extend_from_slice(pin.endpoint.as_bytes());
        let id = upstream.unwrap_or_default();
        token.extend_from_slice(&u16::try_from(id.len()).map_err(|_| too_long())?.to_be_bytes());
        token.extend_from_slice(id.as_bytes());
        token.extend_from_slice(field);
        if token.len() + TAG > LONGEST_TOKEN {
            return Err(too_long());
        }
        let (header, text) = token.split_at_mut(HEADER);
        let aad = bound_to(service, &header[..1 + KEY_ID]);
        // Sealing fails only for messages of 64 GiB; ours are bounded above.
        let tag = key.aead.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), text);
        token.extend_from_slice(tag.map_err(|_| too_long())?.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Opens a session id that a client sent. Nothing if it was not sealed by one of the keys for
    /// this service, or is altered in any character: base64 is read strictly, unused bits included.
    pub fn open(&self, service: &str, id: &[u8]) -> Option<SessionPin> {
        self.open_any(service, id).filter(|pin| pin.stands_for == StandsFor::SessionId)
    }

    /// Opens the token of an endpoint URI, as [`Self::open`] does a session id.
    pub fn open_uri(&self, service: &str, token: &[u8]) -> Option<SessionPin> {
        self.open_any(service, token).filter(|pin| pin.stands_for == StandsFor::EndpointUri)
    }

    /// Opens an id, or the token of an endpoint URI, once more for the essentials that [`Self::seal_whole`] has put into
    /// it. Nothing, too, where they are of a later version and cannot be read here.
    pub fn essentials(&self, service: &str, id: &[u8]) -> Option<Essentials> {
        let room = &mut [0; LONGEST_TOKEN];
        let text = self.text_in(room, service, id)?;
        read_pin(text)?;
        Essentials::decode(field_of(text, ESSENTIALS)?)
    }

    fn open_any(&self, service: &str, id: &[u8]) -> Option<SessionPin> {
        if id.len() <= COMMON_TOKEN / 3 * 4 {
            read_pin(self.text_in(&mut [0; COMMON_TOKEN], service, id)?)
        } else {
            read_pin(self.text_in(&mut [0; LONGEST_TOKEN], service, id)?)
        }
    }

    /// What was sealed into an id, in the room that is given for it; an id that is too long finds none.
    fn text_in<'r>(&self, room: &'r mut [u8], service: &str, id: &[u8]) -> Option<&'r [u8]> {
        let token = token::decode(id, room)?;
        if token.len() < HEADER + TAG || token[0] != VERSION {
            return None;
        }
        let (header, sealed) = token.split_at_mut(HEADER);
        let (prefix, nonce) = header.split_at(1 + KEY_ID);
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.id == prefix[1..])?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = bound_to(service, prefix);
        let text = key.aead.open_in_place(nonce, Aad::from(&aad), sealed).ok()?;
        Some(text)
    }

    /// The salt of a service's position hash in an epoch. Every replica with the same first key
    /// computes the same.
    pub fn salt(&self, service: &str, epoch: u64) -> Salt {
        let mut context = hmac::Context::with_key(&self.keys.load()[0].salts);
        context.update(&epoch.to_be_bytes());
        context.update(service.as_bytes());
        let tag = context.sign();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        Salt::new(bytes)
    }

    /// By what a session of a caller is found in the next process, in a table that may be read by others: nobody who has no
    /// key can tell from it which id or credential it stands for. Of the key that sealed the id, so that it stays the same
    /// for as long as the id opens. Nothing where no key here did.
    pub fn resident_key(&self, id: &[u8], caller: &[u8]) -> Option<[u8; 16]> {
        let room = &mut [0; LONGEST_TOKEN];
        let prefix = token::decode(id, room)?.first_chunk::<{ 1 + KEY_ID }>()?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.id == prefix[1..])?;
        let mut context = hmac::Context::with_key(&key.residents);
        context.update(&(id.len() as u64).to_be_bytes());
        context.update(id);
        context.update(caller);
        context.sign().as_ref().first_chunk().copied()
    }

    fn next_nonce(&self) -> [u8; NONCE_LEN] {
        let count = u128::from(self.sealed.fetch_add(1, Ordering::Relaxed));
        let nonce = self.nonce_start.wrapping_add(count).to_be_bytes();
        let mut bytes = [0; NONCE_LEN];
        bytes.copy_from_slice(&nonce[16 - NONCE_LEN..]);
        bytes
    }
}

impl SealKey {
    fn derive(secret: &Secret) -> Self {
        // HKDF (RFC 5869): one secret, a key for each purpose.
        let root = HkdfSalt::new(HKDF_SHA256, b"dualgate seal 1").extract(&secret.0);
        let aead = UnboundKey::new(&AES_128_GCM, &derived::<16>(&root, b"session id"));
        #[allow(clippy::expect_used)]
        Self {
            id: derived(&root, b"key id"),
            aead: LessSafeKey::new(aead.expect("AES-128 takes a key of 16 bytes")),
            salts: hmac::Key::new(hmac::HMAC_SHA256, &derived::<32>(&root, b"split salt")),
            residents: hmac::Key::new(hmac::HMAC_SHA256, &derived::<32>(&root, b"resident")),
        }
    }
}

fn derived<const N: usize>(root: &Prk, purpose: &[u8]) -> [u8; N] {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = [0; N];
    let info = [purpose];
    #[allow(clippy::expect_used)]
    let okm = root.expand(&info, Length(N)).expect("HKDF-SHA256 gives up to 8,160 bytes");
    #[allow(clippy::expect_used)]
    okm.fill(&mut bytes).expect("the length is the one asked for");
    bytes
}

fn bound_to(service: &str, prefix: &[u8]) -> SmallVec<[u8; 72]> {
    let mut bound = SmallVec::from_slice(prefix);
    bound.extend_from_slice(service.as_bytes());
    bound
}

fn read_pin(text: &[u8]) -> Option<SessionPin> {
    let mut rest = Reader(text);
    let flags = rest.take(1)?[0];
    let revision = u64::from_be_bytes(rest.take(8)?.try_into().ok()?);
    let endpoint = rest.counted(1)?;
    let upstream = rest.counted(2)?;
    while !rest.0.is_empty() {
        let tag = rest.take(1)?[0];
        rest.counted(2)?;
        if tag >= 128 {
            return None;
        }
    }
    Some(SessionPin {
        stands_for: if flags & 4 == 0 { StandsFor::SessionId } else { StandsFor::EndpointUri },
        entry: if flags & 1 == 0 { Entry::Primary } else { Entry::Secondary },
        endpoint: str::from_utf8(endpoint).ok()?.into(),
        revision,
        upstream: if flags & 2 == 0 { None } else { Some(str::from_utf8(upstream).ok()?.into()) },
    })
}

/// The first field of this tag, in a text that has opened.
fn field_of(text: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = Reader(text);
    rest.take(1 + 8)?;
    rest.counted(1)?;
    rest.counted(2)?;
    loop {
        let tag = rest.take(1)?[0];
        let bytes = rest.counted(2)?;
        if tag == wanted {
            return Some(bytes);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn counted(&mut self, width: usize) -> Option<&'a [u8]> {
        let count = self.take(width)?.iter().fold(0, |count, byte| count << 8 | usize::from(*byte));
        self.take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(seeds: &[u8]) -> SealKeys {
        let secrets: Vec<Secret> = seeds.iter().map(|seed| Secret::new([*seed; 32])).collect();
        SealKeys::new(&secrets, [seeds[0]; NONCE_LEN])
    }

    fn pin() -> SessionPin {
        let stands_for = StandsFor::SessionId;
        SessionPin { stands_for, entry: Entry::Secondary, endpoint: "a".into(), revision: 7, upstream: Some("6f1e0b7a5d".into()) }
    }

    /// Of a client whose name has so many characters.
    fn essentials(length: usize) -> Essentials {
        let params = format!(r#"{{"protocolVersion":"2025-11-25","clientInfo":{{"name":"{}"}}}}"#, "n".repeat(length));
        let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#);
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"x":{}}}}"#;
        Essentials::agreed(request.as_bytes(), answer.as_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_needed_to_open_a_session_again_is_in_its_id_wherever_it_fits(
            length in 0usize..900, upstream in prop::option::of("[!-~]{0,200}"), is_uri: bool,
        ) {
            let (keys, essentials) = (keys(&[1]), essentials(length));
            let stands_for = if is_uri { StandsFor::EndpointUri } else { StandsFor::SessionId };
            let pin = SessionPin { stands_for, upstream: upstream.map(Name::from), ..pin() };
            let open = |id: &str| if is_uri { keys.open_uri("notes", id.as_bytes()) } else { keys.open("notes", id.as_bytes()) };
            let (id, is_in) = keys.seal_whole("notes", &pin, Some(&essentials)).unwrap();
            prop_assert!(id.len() <= LONGEST);
            prop_assert_eq!(open(&id), Some(pin.clone()));
            prop_assert_eq!(keys.essentials("notes", id.as_bytes()), is_in.then(|| essentials.clone()));
            prop_assert_eq!(keys.essentials("tasks", id.as_bytes()), None);
            let without = keys.seal("notes", &pin).unwrap();
            let bytes = URL_SAFE_NO_PAD.decode(&without).unwrap().len() + 3 + essentials.encode().len();
            prop_assert_eq!(is_in, bytes <= LONGEST_TOKEN);
            let (bare, is_in) = keys.seal_whole("notes", &pin, None).unwrap();
            prop_assert_eq!((bare.len(), is_in), (without.len(), false));
            prop_assert_eq!((keys.essentials("notes", bare.as_bytes()), open(&without)), (None, Some(pin)));
        }

        #[test]
        fn what_is_sealed_opens_again(
            secondary: bool, endpoint in "[a-z0-9.:-]{1,64}", revision: u64, upstream in prop::option::of("[!-~]{0,400}"),
        ) {
            let keys = keys(&[1]);
            let entry = if secondary { Entry::Secondary } else { Entry::Primary };
            let (endpoint, upstream) = (endpoint.into(), upstream.map(Name::from));
            let pin = SessionPin { stands_for: StandsFor::SessionId, entry, endpoint, revision, upstream };
            let id = keys.seal("notes", &pin).unwrap();
            prop_assert!(id.len() <= LONGEST && id.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(keys.open("notes", id.as_bytes()), Some(pin));
        }

        #[test]
        fn strange_bytes_open_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(keys(&[1]).open("notes", &bytes), None);
            prop_assert_eq!(keys(&[1]).open("notes", URL_SAFE_NO_PAD.encode(&bytes).as_bytes()), None);
        }
    }

    #[test]
    fn an_id_altered_in_any_character_opens_nothing() {
        let keys = keys(&[1]);
        let (id, _) = keys.seal_whole("notes", &pin(), Some(&essentials(9))).unwrap();
        for at in 0..id.len() {
            for other in (0x21..0x7f).filter(|byte| *byte != id.as_bytes()[at]) {
                let mut altered = id.clone().into_bytes();
                altered[at] = other;
                assert_eq!(keys.open("notes", &altered), None, "character {at} as {}", other as char);
                assert_eq!(keys.essentials("notes", &altered), None, "character {at} as {}", other as char);
            }
        }
        for cut in 0..id.len() {
            assert_eq!(keys.open("notes", &id.as_bytes()[..cut]), None);
        }
        assert_eq!(keys.open("notes", format!("{id}A").as_bytes()), None);
    }

    #[test]
    fn nothing_of_the_pin_can_be_read_from_the_id() {
        let id = keys(&[1]).seal("notes", &pin()).unwrap();
        let token = URL_SAFE_NO_PAD.decode(&id).unwrap();
        let inside = |needle: &[u8]| token.windows(needle.len()).any(|window| window == needle);
        assert!(!inside(b"6f1e0b7a5d") && !inside(b"6f1e") && !id.contains("6f1e0b7a5d"));
    }

    #[test]
    fn two_sessions_alike_have_different_ids() {
        let keys = keys(&[1]);
        assert_ne!(keys.seal("notes", &pin()), keys.seal("notes", &pin()));
    }

    #[test]
    fn an_id_of_one_service_opens_in_no_other() {
        let keys = keys(&[1]);
        assert_eq!(keys.open("tasks", keys.seal("notes", &pin()).unwrap().as_bytes()), None);
    }

    #[test]
    fn a_session_id_is_no_endpoint_uri_and_the_other_way_round() {
        let keys = keys(&[1]);
        let uri = SessionPin { stands_for: StandsFor::EndpointUri, upstream: Some("/messages?id=1".into()), ..pin() };
        let (token, id) = (keys.seal("notes", &uri).unwrap(), keys.seal("notes", &pin()).unwrap());
        assert_eq!((keys.open("notes", token.as_bytes()), keys.open_uri("notes", id.as_bytes())), (None, None));
        assert_eq!(keys.open_uri("notes", token.as_bytes()), Some(uri));
    }

    #[test]
    fn after_a_rotation_old_ids_still_open_and_without_their_key_they_do_not() {
        let old = keys(&[1]).seal("notes", &pin()).unwrap();
        assert_eq!(keys(&[2, 1]).open("notes", old.as_bytes()), Some(pin()));
        assert_eq!(keys(&[2]).open("notes", old.as_bytes()), None);
    }

    #[test]
    fn a_key_that_is_rotated_in_seals_and_all_before_it_open() {
        let rotated = keys(&[1]);
        let first = rotated.seal("notes", &pin()).unwrap();
        let sealing = rotated.sealing();
        assert_eq!(rotated.seal_with(&Secret::new([2; 32])), 2);
        assert_eq!(rotated.seal_with(&Secret::new([3; 32])), 3);
        let third = rotated.seal("notes", &pin()).unwrap();
        assert_ne!(rotated.sealing(), sealing);
        assert_eq!(
            (rotated.open("notes", first.as_bytes()), rotated.open("notes", third.as_bytes())),
            (Some(pin()), Some(pin()))
        );
        assert_eq!(keys(&[1]).open("notes", third.as_bytes()), None);
        let text = [3, 2, 1].map(|seed| Secret::new([seed; 32]).to_line()).concat();
        let again = SealKeys::new(&Secret::parse_all(&text).unwrap(), [9; NONCE_LEN]);
        assert_eq!((again.sealing(), again.open("notes", first.as_bytes())), (rotated.sealing(), Some(pin())));
        assert_eq!(Secret::parse_all("\n").err().unwrap(), "there is no key in it");
        assert!(Secret::parse_all(&format!("{text}AAAA\n")).err().unwrap().starts_with("line 4: 3 bytes"));
    }

    #[test]
    fn an_upstream_id_that_does_not_fit_is_refused_with_its_length() {
        let long = SessionPin { upstream: Some("x".repeat(800).into()), ..pin() };
        assert_eq!(keys(&[1]).seal("notes", &long), Err(TooLong(800)));
    }

    #[test]
    fn a_resident_is_found_by_the_same_key_for_as_long_as_its_id_opens_and_by_nobody_without_the_seal_key() {
        let before = keys(&[1]);
        let id = before.seal("notes", &pin()).unwrap();
        let key = before.resident_key(id.as_bytes(), b"ann").unwrap();
        assert_eq!(keys(&[2, 1]).resident_key(id.as_bytes(), b"ann"), Some(key), "the next process, and another key seals");
        assert_eq!(keys(&[2]).resident_key(id.as_bytes(), b"ann"), None, "where it does not open");
        assert_ne!(before.resident_key(id.as_bytes(), b"bob"), Some(key));
        let other = before.seal("notes", &pin()).unwrap();
        assert_ne!(before.resident_key(other.as_bytes(), b"ann"), Some(key));
        assert_eq!(before.resident_key(b"x", b"ann"), None);
    }

    #[test]
    fn replicas_with_the_same_key_agree_on_the_salt_and_services_differ() {
        assert_eq!(keys(&[1]).salt("notes", 1), keys(&[1]).salt("notes", 1));
        assert_ne!(keys(&[1]).salt("notes", 1), keys(&[1]).salt("tasks", 1));
        assert_ne!(keys(&[1]).salt("notes", 1), keys(&[1]).salt("notes", 2));
        assert_ne!(keys(&[1]).salt("notes", 1), keys(&[2]).salt("notes", 1));
    }

    #[test]
    fn fields_of_later_versions_are_passed_over_and_those_that_must_be_known_refuse_the_id() {
        let keys = keys(&[1]);
        let sealed = |field: &[u8]| keys.seal_with_field("notes", &pin(), field).unwrap().into_bytes();
        assert_eq!(keys.open("notes", &sealed(&[127, 0, 1, 9])), Some(pin()));
        assert_eq!((keys.open("notes", &sealed(&[128, 0, 1, 9])), keys.open("notes", &sealed(&[127, 0, 2, 9]))), (None, None));
        let encoded = essentials(9).encode();
        let behind_another = [&[127, 0, 1, 9, ESSENTIALS, 0, encoded.len() as u8][..], &encoded].concat();
        assert_eq!(keys.essentials("notes", &sealed(&behind_another)), Some(essentials(9)));
        assert_eq!(keys.essentials("notes", &sealed(&[ESSENTIALS, 0, 1, 9])), None);
        let with_unknown = [&behind_another[..], &[128, 0, 0]].concat();
        assert_eq!(keys.essentials("notes", &sealed(&with_unknown)), None);
    }

    #[test]
    fn an_id_of_before_the_fields_still_opens() {
        let old = "AV0Ap68BAQEBAQEBAQEBAQHgrZDDYa9MVxrrjBxtds3TPb66mnv9xOyk9XheKes4sm-sgeyDNCk";
        assert_eq!(keys(&[1]).open("notes", old.as_bytes()), Some(pin()));
        assert_eq!(keys(&[1]).essentials("notes", old.as_bytes()), None);
    }

    #[test]
    fn a_key_file_of_the_wrong_length_is_refused_with_what_would_be_right() {
        let secret = Secret::new([3; 32]);
        assert!(Secret::parse(&secret.to_line()).is_ok_and(|read| read == secret));
        assert_eq!(
            Secret::parse("AAAA").err().unwrap(),
            "3 bytes, where a seal key has 32 (write one with `openssl rand -base64 32`)",
        );
    }
}
