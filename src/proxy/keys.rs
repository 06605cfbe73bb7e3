//! The client's key: what tells one client from another, as far as a request shows it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;

use super::Site;
use super::facts::Facts;
use super::peer::Peer;
use crate::domain::{ClientKey, KeySource};
use crate::http1::{Fields, RequestHead};
use crate::live::ServiceView;
use crate::upstream::Client;

/// The first key of the configured sources that the request has.
pub(super) fn client_key(
    head: &RequestHead,
    service: &ServiceView,
    peer: &Peer,
    site: &Site,
    address_counts: bool,
) -> Option<ClientKey> {
    let headers = &head.headers;
    service.config.affinity.keys.iter().find_map(|source| match source {
        KeySource::ApiKey => api_key(headers).map(|value| ClientKey::new(source, value)),
        KeySource::Jwt(claim) => jwt_claim(headers, claim).map(|value| ClientKey::new(source, value.as_bytes())),
        KeySource::Header(name) => headers.get(name).map(|value| ClientKey::new(source, value)),
        KeySource::Address if address_counts => Some(address_key(head, peer, site)),
        KeySource::Address => None,
    })
}

/// Who asks, as the judge tells clients apart: by session, else by key, else by address.
pub(super) fn client(facts: &Facts, head: &RequestHead, peer: &Peer, site: &Site) -> Client {
    match (&facts.session, facts.key) {
        (Some(session), _) => Client::of_session(session.as_bytes()),
        (None, Some(key)) => Client::of_key(key),
        (None, None) => Client::of_key(address_key(head, peer, site)),
    }
}

/// The key of a client that shows nothing else.
pub(super) fn address_key(head: &RequestHead, peer: &Peer, site: &Site) -> ClientKey {
    let address = peer.client_shown(&head.headers, &site.tuning().limits);
    ClientKey::new(&KeySource::Address, address.as_bytes())
}

/// The fields by which servers know who asks.
pub(super) const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "cookie"];

/// The credentials of a request.
pub(super) fn credentials(headers: &Fields) -> [Option<&[u8]>; CREDENTIALS.len()] {
    let mut found = [None; CREDENTIALS.len()];
    if !CREDENTIALS.iter().any(|name| headers.may_have(name)) {
        return found;
    }
    // One pass: of a dozen fields nearly none is one of them, which its length tells.
    for (name, value) in headers.iter() {
        let at = match name.len() {
            13 => 0,
            9 => 1,
            7 => 2,
            6 => 3,
            _ => continue,
        };
        if found[at].is_none() && name.eq_ignore_ascii_case(CREDENTIALS[at].as_bytes()) {
            found[at] = Some(value);
        }
    }
    found
}

/// Who asks, as far as credentials tell: callers that are not the same share no session that was opened for one of them. Of a
/// JWT (RFC 7519) issuer and subject, since it changes with every refresh; it is not verified here, but by every server that it
/// is sent to.
pub(super) fn caller(headers: &Fields) -> Vec<u8> {
    let mut caller = Vec::new();
    let claims =
        bearer(headers).and_then(jwt_payload).filter(|claims| claims.get("sub").is_some_and(serde_json::Value::is_string));
    let mut put = |part: &[u8]| {
        caller.extend_from_slice(&(part.len() as u64).to_be_bytes());
        caller.extend_from_slice(part);
    };
    match &claims {
        Some(claims) => ["iss", "sub"]
            .iter()
            .for_each(|claim| put(claims.get(*claim).and_then(|claim| claim.as_str()).unwrap_or_default().as_bytes())),
        None => put(headers.get(AUTHORIZATION).unwrap_or_default()),
    }
    let has_key = CREDENTIALS[..3].iter().any(|name| headers.contains(*name));
    CREDENTIALS[1..3].iter().for_each(|name| put(headers.get(name).unwrap_or_default()));
    // Balancers set cookies, too, and change them with every answer: they tell callers apart where nothing else does.
    headers.all(CREDENTIALS[3]).filter(|_| !has_key).for_each(put);
    caller
}

fn bearer(headers: &Fields) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?;
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn api_key(headers: &Fields) -> Option<&[u8]> {
    let named = headers.get("x-api-key").or_else(|| headers.get("api-key"));
    // A JWT changes with every refresh and would move its client; its subject does not.
    named.or_else(|| bearer(headers).filter(|token| jwt_payload(token).is_none()))
}

fn jwt_payload(token: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// A claim of a bearer JWT (RFC 7519), read without verification: it says which clients are the
/// same, not what they may do, and a client that lies only chooses its own place on the scale.
fn jwt_claim(headers: &Fields, claim: &str) -> Option<String> {
    match jwt_payload(bearer(headers)?)?.remove(claim)? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> Fields {
        let mut headers = Fields::default();
        headers.append(AUTHORIZATION.as_str().as_bytes(), authorization.as_bytes());
        headers
    }

    fn jwt(payload: &str) -> String {
        format!("Bearer {}.{}.c2ln", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_subject_of_a_token_outlives_its_refresh() {
        let one = headers(&jwt(r#"{"sub":"ann","iat":1}"#));
        let two = headers(&jwt(r#"{"sub":"ann","iat":2}"#));
        assert_eq!(jwt_claim(&one, "sub"), Some("ann".into()));
        assert_eq!(jwt_claim(&one, "sub"), jwt_claim(&two, "sub"));
        assert_eq!(api_key(&one), None, "a JWT is no API key");
    }

    #[test]
    fn a_token_that_is_no_jwt_is_an_api_key() {
        assert_eq!(api_key(&headers("Bearer sk-123")), Some(&b"sk-123"[..]));
        assert_eq!(api_key(&headers("bearer a.b.c")), Some(&b"a.b.c"[..]));
        assert_eq!(api_key(&headers("Basic dTpw")), None);
        assert_eq!(jwt_claim(&headers("Bearer sk-123"), "sub"), None);
    }

    #[test]
    fn a_claim_that_is_a_number_counts_and_an_object_does_not() {
        assert_eq!(jwt_claim(&headers(&jwt(r#"{"sub":42}"#)), "sub"), Some("42".into()));
        assert_eq!(jwt_claim(&headers(&jwt(r#"{"sub":{}}"#)), "sub"), None);
    }
}
