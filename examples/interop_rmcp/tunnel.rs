//! TLS under rmcp's HTTP client: a local port whose connections go on over TLS. reqwest's own TLS would bring crates for
//! every platform's certificate store into the lock file for this one lane of the suite.

use std::{io, net::Ipv4Addr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use crate::{Failure, Task};

/// The URL to use instead of the task's. What is not agreed on as the task's HTTP version is not passed on.
pub async fn open(task: &Task) -> Result<String, Failure> {
    let target: http::Uri = task.url.parse()?;
    let host = target.host().ok_or("a URL without a host")?.to_owned();
    let port = target.port_u16().ok_or("a URL without a port")?;
    let protocol: &[u8] = if task.http == "1.1" { b"http/1.1" } else { b"h2" };
    let connector = connector(task, protocol)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}{}", listener.local_addr()?, target.path());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (connector, host) = (connector.clone(), host.clone());
            // A connection that cannot be had, or breaks, is seen by the client as such.
            tokio::spawn(async move { drop(carry(near, connector, host, port, protocol).await) });
        }
    });
    Ok(url)
}

fn connector(task: &Task, protocol: &[u8]) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&task.ca)? {
        roots.add(certificate?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn carry(mut near: TcpStream, connector: TlsConnector, host: String, port: u16, protocol: &[u8]) -> Result<(), Failure> {
    let far = TcpStream::connect((host.as_str(), port)).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let mut far = connector.connect(ServerName::try_from(host)?, far).await?;
    if far.get_ref().1.alpn_protocol() != Some(protocol) {
        return Err(io::Error::other("another protocol was agreed on").into());
    }
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
