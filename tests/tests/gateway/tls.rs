//! TLS: its versions, its certificates, and what is no TLS.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use harness::raw::{self, Connection, State};
use harness::{Got, TIMEOUT};
use regex_lite::Regex;
use serde_json::Value;
use shop_tests::fake::Fake;
use shop_tests::program::{self, Program};
use shop_tests::shop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ALL_VERSIONS, ProtocolVersion};

use super::secure::{Port, request, secure};
use super::{Played, streams};

/// The beginning of a handshake with TLS 1.1, of a client that knows nothing newer.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, two ciphers, no compression.
    hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len()).expect("short");
    let handshake = [vec![1, 0, 0, length], hello].concat();
    [vec![22, 3, 1, 0, length + 4], handshake].concat()
}

async fn users() -> Fake {
    Fake::start(|_| async { raw::json("200 OK", "", "{}") }).await
}

/// Gets `path` with HTTP/1.1 on this connection.
async fn get(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let get = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(get.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .await
        .expect("an answer, and the farewell of TLS");
    text
}

#[tokio::test]
async fn both_versions_of_tls_carry_both_versions_of_http() {
    let users = users().await;
    let secure = secure(&users.url(), &[]).await;
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for (offered, chosen) in [
            (["h2", "http/1.1"].as_slice(), Some("h2")),
            (&["http/1.1", "h2"], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let mut stream = secure
                .port
                .try_connect(&[version], offered)
                .await
                .expect("TLS");
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(
                session.alpn_protocol(),
                chosen.map(str::as_bytes),
                "{offered:?}"
            );
            if chosen != Some("h2") {
                let text = get(&mut stream, "/api/users/1").await;
                assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
            }
        }
    }
    let mut client = secure.port.client().await;
    client.get("/api/users/1").await.expect(200);
}

#[tokio::test]
async fn older_versions_and_other_protocols_are_refused() {
    let users = users().await;
    let secure = secure(&users.url(), &[]).await;
    let mut stream = TcpStream::connect(secure.port.address)
        .await
        .expect("connects");
    stream.write_all(&hello_of_tls_1_1()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an alert");
    // About the handshake or about the version.
    let [21, _, _, 0, 2, 2, 40 | 70] = answer[..] else {
        panic!("not a fatal alert: {answer:?}");
    };
    let other = secure.port.try_connect(ALL_VERSIONS, &["h3"]).await;
    let cause = other.expect_err("an unknown protocol").to_string();
    assert!(cause.contains("NoApplicationProtocol"), "{cause}");
    secure.server.get("/health").await.expect(200);
}

#[tokio::test]
async fn a_client_without_tls_is_told_so() {
    let users = users().await;
    let secure = secure(&users.url(), &[]).await;
    for bytes in [
        "GET /health HTTP/1.1\r\nhost: a\r\n\r\n",
        "SSH-2.0-client\r\n",
    ] {
        let mut connection = Connection::open(secure.port.address).await;
        connection.send(bytes.as_bytes()).await.expect("sent");
        let got = connection.answer(false).await.expect("an answer");
        assert_eq!(got.header("connection"), "close");
        assert_ne!(got.header("x-request-id"), "");
        let says = got.expect_error(400, "validation_failed");
        assert!(says.contains("use https://"), "{says}");
        assert_eq!(connection.until_closed(TIMEOUT).await, State::Closed);
    }
}

#[tokio::test]
async fn a_response_says_that_it_came_with_tls_and_the_service_knows() {
    let users = users().await;
    let secure = secure(&users.url(), &[]).await;
    let tunnel = secure.port.tunnel().await;
    let mut client = secure.port.client().await;
    let plain = secure.server.get("/api/users/1").await;
    let http1 = raw::get(tunnel, "/api/users/1").await.expect("an answer");
    let http2 = client.get("/api/users/1").await;
    let seen = users.seen();
    for (got, seen, scheme, lasting) in [
        (plain, &seen[0], "http", ""),
        (http1, &seen[1], "https", "max-age=31536000"),
        (http2, &seen[2], "https", "max-age=31536000"),
    ] {
        assert_eq!(got.header("strict-transport-security"), lasting, "{got:?}");
        assert_eq!(seen.header("x-forwarded-proto"), scheme);
        assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
    }
}

#[tokio::test]
async fn a_slow_handshake_ends_at_the_time_out_of_a_head() {
    let users = users().await;
    let secure = secure(&users.url(), &[("HEAD_TIMEOUT_MS", "300")]).await;
    let hello = hello_of_tls_1_1();
    for sent in [&[][..], &hello[..1], &hello[..20]] {
        let started = Instant::now();
        let mut connection = Connection::open(secure.port.address).await;
        connection.send(sent).await.expect("sent");
        let state = connection.until_closed(TIMEOUT).await;
        assert_ne!(state, State::Open, "{} bytes", sent.len());
        assert!(started.elapsed() < TIMEOUT / 2, "{:?}", started.elapsed());
    }
    // Neither helps a byte now and then.
    let mut connection = Connection::open(secure.port.address).await;
    let pause = Duration::from_millis(50);
    let state = connection.drip(&hello[..40], pause, TIMEOUT).await;
    assert_ne!(state, State::Open);
}

/// Connections on which half of a handshake was sent.
async fn half_shaken(port: &Port, count: usize) -> Vec<Connection> {
    let connecting = (0..count).map(async |_| {
        let mut connection = Connection::open(port.address).await;
        connection
            .send(&hello_of_tls_1_1()[..30])
            .await
            .expect("sent");
        connection
    });
    join_all(connecting).await
}

#[tokio::test]
async fn hundreds_of_half_handshakes_keep_nobody_waiting() {
    let users = users().await;
    let secure = secure(&users.url(), &[]).await;
    let waiting = half_shaken(&secure.port, 500).await;
    let started = Instant::now();
    secure
        .port
        .client()
        .await
        .get("/api/users/1")
        .await
        .expect(200);
    secure.server.get("/api/users/1").await.expect(200);
    assert!(started.elapsed() < TIMEOUT / 2, "{:?}", started.elapsed());
    drop(waiting);
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection() {
    let users = users().await;
    let secure = secure(&users.url(), &[("MAX_CONNECTIONS", "10")]).await;
    // As many as one address may have.
    let mut waiting = half_shaken(&secure.port, 8).await;
    let started = Instant::now();
    // One more takes the place of the oldest, once that waits.
    while let Err(cause) = secure.port.try_connect(ALL_VERSIONS, &[]).await {
        assert!(started.elapsed() < TIMEOUT / 2, "{cause}");
        sleep(Duration::from_millis(5)).await;
    }
    assert_ne!(waiting[0].until_closed(TIMEOUT / 4).await, State::Open);
}

#[tokio::test]
async fn a_request_cannot_hide_another_one_within_tls() {
    let users = shop::users().await;
    shop::add_user(&users, "ada").await;
    let secure = secure(&users.upstream_url(), &[]).await;
    let tunnel = secure.port.tunnel().await;
    super::refusals::nothing_hides(&users, &secure.server, tunnel).await;
}

#[tokio::test]
async fn a_web_socket_within_tls_passes_bytes_in_both_directions() {
    let played = streams::shouting().await;
    let secure = secure(&played.url, &[]).await;
    streams::is_heard(secure.port.tunnel().await).await;
}

/// A folder for files, and a certificate with its key in PEM.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("shop-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }

    /// Puts a new certificate and its key in place.
    fn renew(&self) {
        let (certificate, key) = certified();
        self.write("cert.pem", &certificate);
        self.write("key.pem", &key);
    }

    /// A gateway with these files, and its port for TLS.
    fn start(&self, users: &str) -> (Program, Port) {
        let gateway = Program::start(
            "gateway",
            &[
                ("USER_SERVICE_URL", users),
                ("TLS_CERT", &self.path("cert.pem")),
                ("TLS_KEY", &self.path("key.pem")),
                ("TLS_PORT", "0"),
                // A connection waits for a new certificate before its first request.
                ("HEAD_TIMEOUT_MS", "60000"),
            ],
        );
        let port = tls_port(&gateway);
        (gateway, port)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A certificate for this machine, and its key.
fn certified() -> (String, String) {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The port that a gateway writes to its log.
pub(crate) fn tls_port(gateway: &Program) -> Port {
    let line = logged(gateway, "listening with TLS");
    let text = |name: &str| line[name].as_str().expect("a text").to_owned();
    Port {
        address: text("address").parse().expect("an address"),
        certificate: text("certificate").into(),
    }
}

/// The next line of the log with this message.
fn logged(gateway: &Program, message: &str) -> Value {
    loop {
        let line = gateway.line(TIMEOUT);
        let line = line.unwrap_or_else(|| panic!("no line says {message:?}"));
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if line["message"]
            .as_str()
            .expect("a message")
            .contains(message)
        {
            return line;
        }
    }
}

/// The certificate that a new connection gets.
async fn presented(port: &Port) -> Option<Vec<u8>> {
    let stream = port.try_connect(ALL_VERSIONS, &[]).await.ok()?;
    let certificates = stream.get_ref().1.peer_certificates()?;
    Some(certificates[0].to_vec())
}

#[tokio::test]
async fn a_certificate_is_replaced_under_live_connections() {
    let users = users().await;
    let files = Files::new("replaced");
    files.renew();
    let (gateway, port) = files.start(users.url().as_str());
    let first = presented(&port).await.expect("the first one");
    let mut http2 = port.client().await;
    http2.get("/api/users/1").await.expect(200);
    let mut http1 = port.try_connect(ALL_VERSIONS, &[]).await.expect("TLS");

    // The key does not fit yet, for longer than the gateway looks away.
    let (certificate, key) = certified();
    files.write("cert.pem", &certificate);
    let line = logged(&gateway, "bad one");
    assert_eq!(line["level"], "ERROR");
    let cause = line["cause"].as_str().expect("a cause");
    assert!(cause.contains(&files.path("key.pem")), "{cause}");
    let old = files.path("old.pem");
    fs::write(&old, pem(&first)).expect("written");
    let with_old = Port {
        certificate: old.into(),
        ..port.clone()
    };
    assert_eq!(presented(&with_old).await.as_ref(), Some(&first));

    // It looks again, twice, and one line was enough.
    let looks = Instant::now();
    while looks.elapsed() < Duration::from_secs(5) {
        let line = gateway.line(Duration::from_secs(1)).unwrap_or_default();
        assert!(!line.contains("bad one"), "{line}");
    }
    files.write("key.pem", &key);
    loop {
        let line = gateway.line(TIMEOUT).expect("a line");
        assert!(!line.contains("bad one"), "{line}");
        if line.contains("new connections get a new certificate") {
            break;
        }
    }
    let second = presented(&port).await.expect("the second one");
    assert_ne!(first, second);

    http2.get("/api/users/1").await.expect(200);
    assert!(!http2.is_closed());
    let text = get(&mut http1, "/api/users/1").await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

fn pem(der: &[u8]) -> String {
    use std::fmt::Write as _;

    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let mut bits = [0; 4];
            bits[1..=three.len()].copy_from_slice(three);
            let bits = u32::from_be_bytes(bits) as usize;
            for place in 0..4 {
                let digit = char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
                text.push(if place > three.len() { '=' } else { digit });
            }
        }
        writeln!(text).expect("a string");
    }
    text + "-----END CERTIFICATE-----\n"
}

#[test]
fn it_does_not_start_with_files_that_it_cannot_use() {
    let files = Files::new("bad");
    let (certificate, key) = certified();
    let (_, other_key) = certified();
    files.write("cert.pem", &certificate);
    files.write("key.pem", &key);
    files.write("other.pem", &other_key);
    files.write("text.pem", "no PEM");
    files.write("large.pem", &" ".repeat((1 << 20) + 1));
    let broken = certificate.replace("-----END", "-----DNE");
    files.write("broken.pem", &broken);
    for (certificate, key, file, reason) in [
        ("none.pem", "key.pem", "none.pem", "No such file"),
        ("cert.pem", "none.pem", "none.pem", "No such file"),
        ("text.pem", "key.pem", "text.pem", "has no certificate"),
        ("key.pem", "key.pem", "key.pem", "has no certificate"),
        ("broken.pem", "key.pem", "broken.pem", "is not in PEM"),
        ("cert.pem", "cert.pem", "cert.pem", "has no private key"),
        (
            "cert.pem",
            "other.pem",
            "other.pem",
            "cannot be used together",
        ),
        ("large.pem", "key.pem", "large.pem", "more than a megabyte"),
        (".", "key.pem", ".", "it is not a file"),
    ] {
        let ended = program::run(
            "gateway",
            &[
                ("PORT", "0"),
                ("TLS_PORT", "0"),
                ("TLS_CERT", &files.path(certificate)),
                ("TLS_KEY", &files.path(key)),
            ],
        );
        assert_eq!(ended.status, Some(1), "{}", ended.stderr);
        let says = &ended.stderr;
        assert_eq!(says.trim().lines().count(), 1, "{says}");
        for part in [&*files.path(file), reason, "TLS_"] {
            assert!(says.contains(part), "{part:?} is not in {says}");
        }
    }
}

#[test]
fn it_does_not_start_with_half_of_the_settings() {
    for (variables, expected) in [
        (
            [("TLS_CERT", "a.pem")].as_slice(),
            "TLS_CERT is \"a.pem\", expected TLS_KEY too",
        ),
        (
            &[("TLS_KEY", "a.pem")],
            "TLS_KEY is \"a.pem\", expected TLS_CERT too",
        ),
        (
            &[("TLS", "self-signed"), ("TLS_CERT", "a.pem")],
            "TLS is \"self-signed\", expected neither",
        ),
        (&[("TLS", "on")], "TLS is \"on\", expected self-signed"),
        (
            &[("TLS", "self-signed"), ("TLS_PORT", "https")],
            "TLS_PORT is \"https\", expected a port",
        ),
    ] {
        let ended = program::run("gateway", variables);
        assert_eq!(ended.status, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    let settings = [
        ("PORT", "0"),
        ("TLS_PORT", "0"),
        ("TLS", "self-signed"),
        ("RUN_DIR", "/no/such/folder"),
    ];
    let ended = program::run("gateway", &settings);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("set RUN_DIR to"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_self_signed_certificate_is_for_clients_and_its_key_is_nowhere() {
    let files = Files::new("self-signed");
    let folder = files.folder.to_string_lossy().into_owned();
    let gateway = Program::start(
        "gateway",
        &[
            ("USER_SERVICE_URL", "http://127.0.0.1:1"),
            ("TLS", "self-signed"),
            ("TLS_PORT", "0"),
            ("RUN_DIR", &folder),
        ],
    );
    let port = tls_port(&gateway);
    let name = format!("gateway-{}.crt", port.address.port());
    assert_eq!(port.certificate, files.folder.join(name));
    let files: Vec<_> = fs::read_dir(&folder).expect("a folder").flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = fs::read_to_string(&port.certificate).expect("a certificate");
    let pem = Regex::new("^-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\\s*$");
    assert!(pem.expect("a pattern").is_match(&text), "{text}");

    let mut client = port.client().await;
    let got: Got = client
        .send(request("GET", "/health", &[], ""))
        .await
        .expect("an answer");
    got.expect(200);
    gateway.signal("TERM");
    assert_eq!(gateway.exited(TIMEOUT), Some(0));
    assert!(!port.certificate.exists(), "nobody has its key any more");
}

#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_gets_its_response() {
    let users = Fake::start(|_| async {
        // The end of the client arrives before.
        sleep(Duration::from_millis(200)).await;
        raw::json("200 OK", "", "{}")
    })
    .await;
    let secure = secure(&users.url(), &[]).await;
    for says_goodbye in [true, false] {
        let stream = secure.port.try_connect(ALL_VERSIONS, &[]).await;
        let mut stream = stream.expect("TLS");
        let get = b"GET /api/users/1 HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(get).await.expect("sent");
        stream.flush().await.expect("sent");
        if says_goodbye {
            stream.shutdown().await.expect("closed");
        } else {
            let (below, _) = stream.get_mut();
            below.shutdown().await.expect("closed");
        }
        let mut text = String::new();
        let read = timeout(TIMEOUT, stream.read_to_string(&mut text)).await;
        read.expect("in time").expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200 "), "{says_goodbye}: {text}");
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_a_request_within_tls() {
    let played = Played::start(|_, mut stream| async move {
        raw::Request::read(&mut stream).await;
        sleep(Duration::from_millis(600)).await;
        let _ = stream.write_all(&raw::json("200 OK", "", "{}")).await;
    })
    .await;
    let secure = secure(&played.url, &[]).await;
    let mut stream = secure
        .port
        .try_connect(ALL_VERSIONS, &[])
        .await
        .expect("TLS");
    let get = b"GET /api/users/1 HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(get).await.expect("sent");
    while played.accepted() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let stopping = tokio::spawn(secure.server.stop());
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .await
        .expect("an answer, and a farewell");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    stopping.await.expect("stopped");
    assert!(TcpStream::connect(secure.port.address).await.is_err());
}
