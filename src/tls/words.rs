//! What went wrong in a handshake, in words that say what to do about it.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};

use crate::telemetry::clock::utc;

/// What answers is no TLS.
pub const SPEAKS_NO_TLS: &str = "it does not speak TLS";

/// The cause of a failed handshake with a server.
pub(super) fn cause(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(error)) => certificate(error),
        Some(Error::AlertReceived(AlertDescription::CertificateRequired)) => "it wants a client certificate".to_owned(),
        Some(Error::AlertReceived(AlertDescription::UnrecognisedName)) => "it has no certificate for that name".to_owned(),
        Some(Error::AlertReceived(alert)) => format!("it refuses the handshake: {alert:?}"),
        Some(Error::InvalidMessage(_)) => SPEAKS_NO_TLS.to_owned(),
        Some(Error::NoApplicationProtocol) => "it does not offer http/1.1 (ALPN)".to_owned(),
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it closed the connection during the handshake".to_owned(),
        None => error.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its certificate is from an unknown issuer".to_owned(),
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
            let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            format!("its certificate is not for {} but for {names}", expected.to_str())
        }
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired, at {}", utc(Duration::from_secs(not_after.as_secs())))
        }
        CertificateError::NotValidYet => "its certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is valid from {} only", utc(Duration::from_secs(not_before.as_secs())))
        }
        other => format!("its certificate is not in order: {other}"),
    }
}

/// `DnsName("a.example")` without what is around it.
fn plain_name(presented: &str) -> &str {
    presented.split_once('(').map_or(presented, |(_, rest)| rest.trim_end_matches(')').trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_without_its_kind() {
        assert_eq!(plain_name("DnsName(\"a.example\")"), "a.example");
        assert_eq!(plain_name("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(plain_name("x"), "x");
    }
}
