use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN,
};
use warp::test::request;

#[tokio::test]
async fn its_cors_refuses_an_unlisted_header_without_cors_headers() {
    for (listed, status) in [
        (vec!["content-type"], StatusCode::OK),
        (vec![], StatusCode::FORBIDDEN),
    ] {
        let cors = warp::cors()
            .allow_any_origin()
            .allow_method("POST")
            .allow_headers(listed);
        let routes = warp::post().map(|| "created").with(cors);
        let preflight = request().method("OPTIONS");
        let answer = preflight
            .header(ORIGIN, "http://a.example")
            .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "content-type")
            .reply(&routes)
            .await;
        assert_eq!(answer.status(), status);
        let allowed = answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed, status == StatusCode::OK);
    }
}
