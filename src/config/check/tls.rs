//! What is said of TLS, as far as it can be checked without the files.

use std::net::SocketAddr;

use super::super::{ClientAuth, ClientTls, KeyPair, ServerTls, Tls, raw};
use super::{Checker, or};
use crate::domain::machine::EntrySpec;

impl Checker<'_> {
    pub(super) fn tls(&mut self, raw: &raw::Tls) -> Tls {
        Tls {
            listen: self.address("tls.listen", &raw.listen),
            server: self.server_tls("tls", &raw.certificates, raw.client_ca.as_deref(), raw.client_auth.as_deref()),
            handshake_timeout: self.positive("tls.handshake_timeout", or(raw.handshake_timeout, 5_000)),
        }
    }

    pub(super) fn admin_tls(&mut self, raw: &raw::AdminTls) -> ServerTls {
        self.server_tls("admin.tls", &raw.certificates, raw.client_ca.as_deref(), raw.client_auth.as_deref())
    }

    pub(super) fn admin_address(&mut self, listen: SocketAddr, has_tls: bool) {
        if !listen.ip().is_loopback() && !has_tls {
            let what = "is not a loopback address, and the admin API without TLS stays on loopback (127.0.0.1:9900)";
            self.wrong("admin.listen", format!("{listen} {what}; [admin.tls] lifts this"));
        }
    }

    fn server_tls(&mut self, key: &str, pairs: &[raw::KeyPair], client_ca: Option<&str>, client_auth: Option<&str>) -> ServerTls {
        if pairs.is_empty() {
            self.wrong(
                &format!("{key}.certificates"),
                "at least one is needed, like [{ cert = \"tls.crt\", key = \"tls.key\" }]; the first is the default",
            );
        }
        let choices = [("none", ClientAuth::None), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
        let client_auth = self.one_of(&format!("{key}.client_auth"), client_auth, &choices);
        let client_ca = client_ca.filter(|path| !path.is_empty());
        match (client_ca, client_auth) {
            (None, ClientAuth::Optional | ClientAuth::Required) => {
                self.wrong(&format!("{key}.client_ca"), "client certificates need an authority to be checked by: name its file");
            }
            (Some(_), ClientAuth::None) => self.wrong(
                &format!("{key}.client_auth"),
                "an authority for client certificates is named, and none are asked for: \"optional\" or \"required\"",
            ),
            _ => {}
        }
        ServerTls { certificates: pairs.iter().map(pair).collect(), client_ca: client_ca.map(Into::into), client_auth }
    }

    pub(super) fn client_tls(&mut self, at: usize, raw: &raw::ClientTls) -> ClientTls {
        let key = |name: &str| format!("service[{at}].tls.{name}");
        let server_name = raw.server_name.clone().unwrap_or_default();
        if !server_name.is_empty() && rustls::pki_types::ServerName::try_from(server_name.as_str()).is_err() {
            self.wrong(&key("server_name"), format!("`{server_name}` is not a name or an address that a certificate can be for"));
        }
        if raw.insecure && !raw.roots.is_empty() {
            self.wrong(&key("insecure"), "true accepts any certificate, whatever the roots: take out one of the two");
        }
        if raw.insecure {
            let what = "any certificate of an endpoint is accepted: who can get in between reads and writes along";
            self.warnings.push(format!("{}: {what}", key("insecure")));
        }
        ClientTls {
            roots: raw.roots.iter().map(Into::into).collect(),
            server_name,
            client_certificate: raw.client_certificate.as_ref().map(pair),
            insecure: raw.insecure,
        }
    }

    /// What is said of TLS and meant for nobody.
    pub(super) fn tls_for_no_one(&mut self, at: usize, tls: &ClientTls, entries: [&EntrySpec; 2]) {
        let mut endpoints = entries.into_iter().flat_map(|entry| &entry.endpoints);
        if *tls != ClientTls::default() && !endpoints.any(|endpoint| endpoint.url.starts_with("https:")) {
            self.warnings.push(format!("service[{at}].tls: no endpoint has an https:// URL, so it is for later deploys only"));
        }
    }
}

fn pair(raw: &raw::KeyPair) -> KeyPair {
    KeyPair { cert: (&raw.cert).into(), key: (&raw.key).into() }
}
