//! Requests that are not HTTP, and connections after an error.

use chassis::testkit::Got;
use harness::raw::{Connection, chunked, request};
use shop_tests::faults::Faults;

use super::{JSON, KIB, World, standard, status};

#[tokio::test]
async fn a_server_survives_invalid_http() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let long_path = request("GET", &format!("/{}", "x".repeat(100 * KIB)), &[], b"");
    let long_header = request(
        "GET",
        "/health",
        &[("x-long", &"x".repeat(1000 * KIB))],
        b"",
    );
    let many: Vec<(&str, &str)> = vec![("x-many", "1"); 500];
    let many_headers = request("GET", "/health", &many, b"");
    let cases: [(&[u8], &str); 10] = [
        (b"NONSENSE\r\n\r\n", "no request line"),
        (
            b"GET /health HTTP/9.9\r\nhost: a\r\n\r\n",
            "a version that nobody speaks",
        ),
        (
            b"GET /health HTTP/1.1\r\nhost a\r\n\r\n",
            "a header without a colon",
        ),
        (b"GET /health HTTP/1.1\r\n\r\n", "no host"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            "TLS",
        ),
        (
            b"POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
            "a length that is no number",
        ),
        (
            b"GET /h\xc3\xbc HTTP/1.1\r\nhost: a\r\n\r\n",
            "a path that is not encoded",
        ),
        (&long_path, "a path of 100 KiB"),
        (&long_header, "a header of a megabyte"),
        (&many_headers, "500 headers"),
    ];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (request, reason) in &cases {
            let what = format!("{}: {reason}", subject.name);
            let mut connection = Connection::open(subject.server.address()).await;
            // The server may refuse it before all of it is sent.
            let _ = connection.send(request).await;
            connection.finish_sending().await;
            let by_the_parser =
                |got: &Got| matches!(got.status, 400 | 414 | 431) && got.body.is_empty();
            let finding = match connection.answer(false).await {
                Ok(got) if by_the_parser(&got) || standard(&got).is_ok() => Ok(()),
                Ok(got) => Err(format!("got {got:?}")),
                // The server may also close the connection.
                Err(_) => Ok(()),
            };
            faults.check(&what, finding);
            faults.expect(
                format!("{what}: lives on"),
                subject.server.get("/health").await.status,
                200,
            );
        }
        for (request, reason) in [
            (&b"GET /health HTTP/1.0\r\n\r\n"[..], "HTTP/1.0"),
            (
                b"GET http://shop.test/health HTTP/1.1\r\nhost: shop.test\r\n\r\n",
                "the whole URL, as to a proxy",
            ),
            (
                b"GET /health HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n",
                "one request only",
            ),
            (
                b"\r\nGET /health HTTP/1.1\r\nhost: shop.test\r\n\r\n",
                "an empty line before it",
            ),
        ] {
            let got = subject.raw(request).await;
            faults.expect(format!("{}: {reason}", subject.name), status(&got), Ok(200));
        }
    }
    faults.finish();
}

#[tokio::test]
async fn after_an_error_a_connection_stays_open_or_is_announced_as_closed() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            (request("GET", "/nothing", &[], b""), 404),
            (request("BREW", "/health", &[], b""), 405),
            (request("POST", "/health", &[JSON], b"{}"), 405),
            (
                request(
                    "POST",
                    "/nothing",
                    &[JSON, ("transfer-encoding", "chunked")],
                    &chunked(b"{}", 8),
                ),
                404,
            ),
            (request("GET", "/health", &[JSON], b"{}"), 200),
            (request("OPTIONS", "/health", &[], b""), 204),
        ];
        for route in &subject.bodies {
            cases.push((request(route.method, route.path, &[JSON], b"{"), 400));
            cases.push((
                request(
                    route.method,
                    route.path,
                    &[("content-type", "text/plain")],
                    b"{}",
                ),
                415,
            ));
        }
        let mut connection = Connection::open(subject.server.address()).await;
        for (request, expected) in cases {
            let what = format!(
                "{}: {}",
                subject.name,
                String::from_utf8_lossy(&request)
                    .lines()
                    .next()
                    .unwrap_or_default()
            );
            if let Err(cause) = connection.send(&request).await {
                faults.check(&what, Err(cause.to_string()));
                break;
            }
            let got = connection.answer(false).await;
            faults.expect(what, status(&got), Ok(expected));
            match got {
                Ok(got) if got.header("connection") == "close" => {
                    connection = Connection::open(subject.server.address()).await;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    faults.finish();
}
