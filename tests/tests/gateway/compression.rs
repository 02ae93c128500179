//! Responses that are compressed, and those that must not be.

use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder};
use futures_util::future::join_all;
use harness::Got;
use harness::raw::{self, Connection, State, request};
use shop_tests::fake::Fake;
use tokio::io::AsyncReadExt;

use super::{Played, gateway, gateway_with};

const BOTH: &str = "gzip, deflate, br, zstd";

/// A response of a service, with these headers and so many bytes.
fn response(status: &str, headers: &str, bytes: usize) -> Vec<u8> {
    let body = text(bytes);
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {bytes}\r\n{headers}\r\n");
    [head.as_bytes(), &body].concat()
}

/// Text that can be compressed.
fn text(bytes: usize) -> Vec<u8> {
    let text = (0..).flat_map(|n: u32| format!("{{\"id\":\"{n}\"}},").into_bytes());
    text.take(bytes).collect()
}

/// What a client gets that accepts these codings, and sends these headers.
async fn got(response: &[u8], method: &str, accepts: &str, headers: &[(&str, &str)]) -> Got {
    let response = response.to_vec();
    let users = Fake::start(move |_| {
        let response = response.clone();
        async move { response }
    })
    .await;
    let gateway = gateway(&users.url()).await;
    let headers = [&[("accept-encoding", accepts)], headers].concat();
    let sent = request(method, "/api/users/1", &headers, b"");
    let got = raw::exchange(gateway.address(), &sent).await;
    got.expect("a response")
}

async fn decoded(got: &Got) -> Vec<u8> {
    let mut decoded = Vec::new();
    let done = match got.header("content-encoding") {
        "gzip" => {
            GzipDecoder::new(&got.body[..])
                .read_to_end(&mut decoded)
                .await
        }
        "br" => {
            BrotliDecoder::new(&got.body[..])
                .read_to_end(&mut decoded)
                .await
        }
        other => panic!("the coding {other:?}"),
    };
    done.expect("it can be decoded");
    decoded
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn a_client_gets_the_coding_it_likes_best() {
    for bytes in [1024, 100_000, 1_000_000] {
        let json = response("200 OK", JSON, bytes);
        for (accepts, coding) in [
            ("gzip", "gzip"),
            ("br", "br"),
            (BOTH, "gzip"),
            ("gzip;q=0.5, br", "br"),
        ] {
            let got = got(&json, "GET", accepts, &[]).await;
            assert_eq!(got.header("content-encoding"), coding, "{accepts}");
            assert_eq!(got.header("vary"), "Accept-Encoding");
            assert_eq!(got.header("content-type"), "application/json");
            assert_eq!(got.header("content-length"), "");
            assert!(got.body.len() < bytes / 2, "{} of {bytes}", got.body.len());
            assert!(
                decoded(&got).await == text(bytes),
                "{bytes} bytes by {coding}"
            );
        }
        let got = got(&json, "GET", "identity", &[]).await;
        assert_eq!(got.header("content-encoding"), "");
        assert_eq!(
            got.header("vary"),
            "Accept-Encoding",
            "others get it compressed"
        );
        assert_eq!(got.body, text(bytes));
    }
}

#[tokio::test]
async fn what_is_small_encoded_partial_or_not_text_passes_as_it_is() {
    for (status, headers, bytes, reason) in [
        ("200 OK", JSON, 1023, "small"),
        ("200 OK", "content-type: image/png\r\n", 5000, "not text"),
        ("200 OK", "", 5000, "unknown"),
        (
            "200 OK",
            "content-type: application/json\r\ncontent-encoding: zstd\r\n",
            5000,
            "encoded by the service",
        ),
        (
            "206 Partial Content",
            "content-type: text/plain\r\ncontent-range: bytes 0-4999/9000\r\n",
            5000,
            "a part",
        ),
        (
            "200 OK",
            "content-type: text/plain\r\ncache-control: private, No-Transform\r\n",
            5000,
            "the service forbids it",
        ),
    ] {
        let headers = format!("{headers}etag: \"a\"\r\naccept-ranges: bytes\r\n");
        let response = response(status, &headers, bytes);
        let got = got(&response, "GET", BOTH, &[]).await;
        let coding = got.header("content-encoding");
        assert!(!["br", "gzip"].contains(&coding), "{reason}: {coding}");
        assert_eq!(got.header("vary"), "", "{reason}");
        assert_eq!(got.header("etag"), "\"a\"", "{reason}");
        assert_eq!(got.header("accept-ranges"), "bytes", "{reason}");
        assert_eq!(got.header("content-length"), bytes.to_string(), "{reason}");
        assert!(got.body == text(bytes), "{reason}");
    }
}

/// A tag that promises these very bytes would let a client combine parts of two codings.
#[tokio::test]
async fn a_compressed_response_has_a_weak_tag_and_no_ranges() {
    let headers = format!("{JSON}etag: \"a\"\r\naccept-ranges: bytes\r\nvary: Origin\r\n");
    let response = response("200 OK", &headers, 5000);
    let compressed = got(&response, "GET", BOTH, &[]).await;
    assert_eq!(compressed.header("etag"), "W/\"a\"");
    assert_eq!(compressed.header("accept-ranges"), "");
    assert_eq!(compressed.header("vary"), "Origin, Accept-Encoding");
    let as_it_is = got(&response, "GET", "", &[]).await;
    assert_eq!(as_it_is.header("etag"), "\"a\"");
    assert_eq!(as_it_is.header("accept-ranges"), "bytes");
    let head = got(&response[..response.len() - 5000], "HEAD", BOTH, &[]).await;
    assert_eq!(head.header("content-length"), "5000");
    assert_eq!(head.header("content-encoding"), "");
    assert_eq!(head.header("vary"), "Origin, Accept-Encoding");

    let unchanged = b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n";
    for (known, expected) in [
        ("W/\"a\"", "W/\"a\""),
        ("\"b\", W/\"a\"", "W/\"a\""),
        ("\"a\"", "\"a\""),
        ("W/\"b\"", "\"a\""),
    ] {
        let got = got(unchanged, "GET", BOTH, &[("if-none-match", known)]).await;
        assert_eq!((got.status, got.header("etag")), (304, expected), "{known}");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_passes_piece_by_piece() {
    let users = Played::start(|_, mut stream| async move {
        use tokio::io::AsyncWriteExt;
        raw::Request::read(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\n{JSON}transfer-encoding: chunked\r\n\r\n");
        let piece = format!("5dc\r\n{}\r\n", "x".repeat(1500));
        for bytes in [head, piece] {
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
        // The rest never comes.
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let gateway = gateway(&users.url).await;
    let mut connection = Connection::open(gateway.address()).await;
    let get = request("GET", "/api/users/1", &[("accept-encoding", BOTH)], b"");
    connection.send(&get).await.expect("sent");
    let text = connection
        .until(&"x".repeat(1500))
        .await
        .expect("the piece");
    assert!(!text.contains("content-encoding"), "{text}");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_ended_as_if_it_were_complete() {
    let whole = response("200 OK", JSON, 500_000);
    for kept in [1, 100_000, 499_000] {
        let length = whole.len() - 500_000 + kept;
        let users = Played::sending(&whole[..length]).await;
        let gateway = gateway(&users.url).await;
        let mut connection = Connection::open(gateway.address()).await;
        let get = request("GET", "/api/users/1", &[("accept-encoding", BOTH)], b"");
        connection.send(&get).await.expect("sent");
        let got = connection.answer(false).await;
        assert!(got.is_err(), "{kept} bytes of 500,000 are not whole");
        let state = connection.until_closed(Duration::from_secs(5)).await;
        assert_ne!(state, State::Open);
    }
}

/// Beyond the number that are compressed at a time, responses are sent as they are.
#[tokio::test]
async fn clients_that_read_nothing_of_compressed_responses_keep_no_others_waiting() {
    const BYTES: usize = 8_000_000;
    // It cannot be compressed, so it does not fit into the buffers of the system.
    let mut state = 1_u32;
    let noise = (0..BYTES).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let noise: Vec<u8> = noise.collect();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n{JSON}\r\n");
    let response: std::sync::Arc<[u8]> = [head.as_bytes(), &noise].concat().into();
    let users = Played::start(move |_, mut stream| {
        let response = std::sync::Arc::clone(&response);
        async move {
            use tokio::io::AsyncWriteExt;
            raw::Request::read(&mut stream).await;
            let _ = stream.write_all(&response).await;
        }
    })
    .await;
    // Compressing takes most of the time of this machine.
    let patient = [("GATEWAY_TIMEOUT_MS", "60000")];
    let gateway = gateway_with(&users.url, &patient).await;
    let address = gateway.address();
    let get = async || {
        let mut connection = Connection::open(address).await;
        let get = request("GET", "/api/users/1", &[("accept-encoding", "gzip")], b"");
        connection.send(&get).await.expect("sent");
        let head = connection.until("\r\n\r\n").await.expect("a head");
        (connection, head)
    };
    let crowd = join_all((0..32).map(|_| get())).await;
    for (_, head) in &crowd {
        assert!(head.contains("content-encoding: gzip"), "{head}");
    }
    let (_one_more, head) = get().await;
    assert!(head.contains("content-length: 8000000"), "{head}");
    drop(crowd);
}

#[tokio::test]
async fn the_gateways_own_pages_are_compressed_too() {
    let users = Fake::start(|_| async { raw::json("200 OK", "", "{}") }).await;
    let gateway = gateway(&users.url()).await;
    for path in ["/docs", "/openapi.json", "/docs/swagger-ui-bundle.js"] {
        let plain = gateway.get(path).await;
        let sent = request("GET", path, &[("accept-encoding", "gzip")], b"");
        let got = raw::exchange(gateway.address(), &sent).await;
        let got = got.expect("a response");
        assert_eq!(got.header("content-encoding"), "gzip", "{path}");
        assert!(decoded(&got).await == plain.body, "{path}");
    }
}
