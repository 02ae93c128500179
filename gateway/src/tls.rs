//! TLS 1.2 and 1.3 on a port of its own, with HTTP/1.1 or HTTP/2 within it.
//!
//! TLS is a layer on top of the connections that all services have: a handshake has the time-out of
//! a head, and counts as a connection. What comes out of it passes the same checks and layers as what
//! comes without it.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chassis::env::Env;
use chassis::serve::connection::{Connection, Transport};
use chassis::serve::requests;
use chassis::serve::run::RunError;
use chassis::serve::service::Service as Serving;
use chassis::serve::{http2, server};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use parking_lot::RwLock;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, ServerConnection};
use tokio_rustls::server::TlsStream;

/// How often the files are read again.
const REREAD: Duration = Duration::from_secs(2);

/// The largest file of certificates or of a key, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// How long a self-signed certificate is valid. Some clients accept none that is valid for longer
/// than 825 days.
const VALID: Duration = Duration::from_hours(365 * 24);

/// Clocks differ: a self-signed certificate is valid from a little earlier on.
const SLACK: Duration = Duration::from_hours(1);

/// The bytes of responses that a connection keeps in its encrypted form, while its client does not
/// read. By itself it would be 64 KiB.
const UNSENT: usize = 16 * 1024;

/// The first byte of a connection with TLS: its record is a part of a handshake.
const HANDSHAKE: u8 = 22;

/// What a client is told that begins with something else.
const NO_TLS: &str = "This port speaks TLS, and the request came without; use https:// in the URL";

const HTTP2: &[u8] = b"h2";

/// Where the gateway listens for TLS, and with which certificate.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The certificate.
    pub certificate: Certificate,
}

/// Where a certificate and its key come from.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// Files in PEM.
    Files {
        /// The certificate, and those between it and the root.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Made at the start.
    SelfSigned {
        /// The directory that it is written to, for clients. The key stays in memory.
        folder: PathBuf,
    },
}

impl Settings {
    /// Reads the environment. None without TLS.
    pub fn read(env: &mut Env<'_>, host: IpAddr) -> Option<Self> {
        let path = |value: &str| Some(PathBuf::from(value));
        let self_signed = env.parsed(
            "TLS",
            "self-signed, for a certificate made at the start",
            |value| (value == "self-signed").then_some(()),
        );
        let certificate = env.parsed("TLS_CERT", "a file with certificates in PEM", path);
        let key = env.parsed("TLS_KEY", "a file with the private key in PEM", path);
        let port = env.get("TLS_PORT", 8443);
        let folder = env.parsed(
            "RUN_DIR",
            "the directory for the certificate of TLS=self-signed",
            path,
        );
        let certificate = match (self_signed, certificate, key) {
            (None, None, None) => return None,
            (None, Some(certificate), Some(key)) => Certificate::Files { certificate, key },
            (Some(()), None, None) => Certificate::SelfSigned {
                folder: folder.unwrap_or_else(std::env::temp_dir),
            },
            (None, Some(certificate), None) => {
                env.reject("TLS_CERT", certificate, "TLS_KEY too, the file of its key");
                return None;
            }
            (None, None, Some(key)) => {
                env.reject("TLS_KEY", key, "TLS_CERT too, the file of its certificate");
                return None;
            }
            (Some(()), ..) => {
                env.reject(
                    "TLS",
                    "self-signed",
                    "neither TLS_CERT nor TLS_KEY beside it",
                );
                return None;
            }
        };
        Some(Self {
            listen: SocketAddr::new(host, port),
            certificate,
        })
    }
}

/// The port for TLS.
#[derive(Debug)]
pub struct Tls {
    listener: TcpListener,
    address: SocketAddr,
    /// The file of the certificate.
    file: PathBuf,
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    /// The files, unless the certificate was made here.
    files: Option<Files>,
}

/// The certificate for new connections.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl Tls {
    /// Listens, and reads the certificate or makes one.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind(settings: &Settings) -> Result<Self, RunError> {
        let listener = server::bind_to(settings.listen, "TLS_PORT")?;
        let address = listener.local_addr()?;
        let provider = ring::default_provider();
        let (file, files, key) = match &settings.certificate {
            Certificate::Files { certificate, key } => {
                let files = Files::read(certificate, key).map_err(RunError::Start)?;
                let key = files.parse(&provider).map_err(RunError::Start)?;
                (certificate.clone(), Some(files), key)
            }
            Certificate::SelfSigned { folder } => {
                let file = folder.join(format!("gateway-{}.crt", address.port()));
                let key = self_signed(&file, address.ip(), &provider).map_err(RunError::Start)?;
                (file, None, key)
            }
        };
        let current = Arc::new(Current(RwLock::new(Arc::new(key))));
        let versions = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|cause| RunError::Start(format!("TLS cannot start: {cause}")))?;
        let mut config = versions
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        tracing::info!(%address, certificate = %file.display(), "listening with TLS");
        Ok(Self {
            listener,
            address,
            file,
            config: Arc::new(config),
            current,
            files,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of the certificate.
    pub fn certificate(&self) -> &Path {
        &self.file
    }

    /// Serves `http` until `service` has shut down.
    pub async fn serve<S, B>(self, http: S, service: &Arc<Serving>)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = std::convert::Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let shutdown = service.shutdown();
        let begin = |connection| {
            let (acceptor, http) = (TlsAcceptor::from(Arc::clone(&self.config)), http.clone());
            shutdown.spawn(connected(connection, acceptor, http, Arc::clone(service)));
        };
        let is_self_signed = self.files.is_none();
        let rereading = async {
            if let Some(files) = self.files {
                reread(files, &self.current).await;
            }
        };
        let stopping = async {
            tokio::select! {
                () = rereading => shutdown.requested().await,
                () = shutdown.requested() => {}
            }
        };
        tokio::join!(server::accept(self.listener, begin, service), stopping);
        if is_self_signed {
            // Nobody has its key any more.
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Serves one connection.
async fn connected<S, B>(
    mut connection: Connection,
    acceptor: TlsAcceptor,
    http: S,
    service: Arc<Serving>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = std::convert::Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    match connection.first_byte().await {
        None => return,
        Some(HANDSHAKE) => {}
        Some(_) => {
            // The client may have gone.
            let _ = requests::refuse(connection, &service, NO_TLS).await;
            return;
        }
    }
    connection.encrypt();
    let begin = |session: &mut ServerConnection| session.set_buffer_limit(Some(UNSENT));
    let stream = match acceptor.accept_with(connection, begin).await {
        Ok(stream) => Encrypted(stream),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
    };
    if stream.0.get_ref().1.alpn_protocol() == Some(HTTP2) {
        http2::serve(stream, http, service).await;
    } else {
        server::serve_http1(stream, http, service).await;
    }
}

/// A connection with TLS.
#[derive(Debug)]
struct Encrypted(TlsStream<Connection>);

impl Transport for Encrypted {
    fn connection(&mut self) -> &mut Connection {
        self.0.get_mut().0
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(cx, buffer) {
            // Many clients close a connection without the farewell of TLS, and so do our time-outs.
            // It only tells a whole message from a part of one, which HTTP can do itself.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            read => read,
        }
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The files of a certificate and its key, and what was in them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    certificate: (PathBuf, Vec<u8>),
    key: (PathBuf, Vec<u8>),
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let read = |path: &Path| Ok::<_, String>((path.to_owned(), contents(path)?));
        Ok(Self {
            certificate: read(certificate)?,
            key: read(key)?,
        })
    }

    /// What is in them now.
    fn again(&self) -> Result<Self, String> {
        Self::read(&self.certificate.0, &self.key.0)
    }

    fn parse(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let (path, bytes) = &self.certificate;
        let certificate = path.display();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        let chain =
            chain.map_err(|cause| format!("{certificate} is not in PEM: {cause}; see TLS_CERT"))?;
        if chain.is_empty() {
            return Err(format!(
                "{certificate} has no certificate in PEM; see TLS_CERT"
            ));
        }
        let (path, bytes) = &self.key;
        let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|cause| {
            format!(
                "{} has no private key in PEM: {cause}; see TLS_KEY",
                path.display()
            )
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|cause| {
            format!(
                "{certificate} and {} cannot be used together: {cause}; see TLS_CERT and TLS_KEY",
                path.display()
            )
        })
    }
}

/// What is in a file that is not too large.
fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        // To open a pipe would wait.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other("it has more than a megabyte"));
        }
        Ok(bytes)
    };
    read().map_err(|cause| {
        format!(
            "cannot read {}: {cause}; see TLS_CERT and TLS_KEY",
            path.display()
        )
    })
}

/// Takes a new certificate into use when the files have changed. A bad one is logged once, and the
/// one in use stays.
async fn reread(mut used: Files, current: &Current) {
    let provider = ring::default_provider();
    // What was read last time: one file may be new, and the other one not yet.
    let mut before = Ok(used.clone());
    let mut refused = None;
    loop {
        sleep(REREAD).await;
        let last = used.clone();
        let Ok(now) = spawn_blocking(move || last.again()).await else {
            return;
        };
        let is_settled = now == before;
        before.clone_from(&now);
        if !is_settled || now.as_ref() == Ok(&used) {
            continue;
        }
        let parsed = now.and_then(|files| Ok((files.parse(&provider)?, files)));
        match parsed {
            Ok((key, files)) => {
                *current.0.write() = Arc::new(key);
                let certificate = files.certificate.0.display();
                tracing::info!(%certificate, "new connections get a new certificate");
                used = files;
                refused = None;
            }
            Err(cause) if refused.as_ref() == Some(&cause) => {}
            Err(cause) => {
                tracing::error!(
                    cause,
                    "the certificate was replaced by a bad one; the one before stays in use"
                );
                refused = Some(cause);
            }
        }
    }
}

/// Makes a certificate for this machine and writes it to `file`, for clients.
fn self_signed(
    file: &Path,
    host: IpAddr,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let mut names = vec!["localhost".to_owned(), "gateway".to_owned()];
    names.extend(["127.0.0.1", "::1"].map(ToOwned::to_owned));
    if !host.is_unspecified() && !host.is_loopback() {
        names.push(host.to_string());
    }
    let made = (|| {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.not_before = (SystemTime::now() - SLACK).into();
        params.not_after = (SystemTime::now() + VALID).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let name = "gateway of the shop, self-signed";
        params.distinguished_name.push(DnType::CommonName, name);
        Ok::<_, rcgen::Error>((params.self_signed(&key)?, key))
    })();
    let (certificate, key) =
        made.map_err(|cause| format!("cannot make a self-signed certificate: {cause}"))?;
    write(file, &certificate.pem()).map_err(|cause| {
        format!(
            "cannot write the self-signed certificate to {}: {cause}; set RUN_DIR to a directory \
             that can be written",
            file.display()
        )
    })?;
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|cause| format!("cannot use a self-signed certificate: {cause}"))?;
    CertifiedKey::from_der(vec![certificate.der().clone()], key, provider)
        .map_err(|cause| format!("cannot use a self-signed certificate: {cause}"))
}

/// Writes a file that anybody may read, in place of what is there. In a directory that others may
/// write to, it is no link of theirs.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension(format!("{}.new", std::process::id()));
    // From a process with the same number that was killed.
    let _ = fs::remove_file(&new);
    let mut written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&new)?;
    written.write_all(text.as_bytes())?;
    fs::rename(&new, file)
}
