use poem::http::StatusCode;
use poem::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use poem::middleware::Cors;
use poem::test::TestClient;
use poem::web::Data;
use poem::{EndpointExt, Route, get, handler, post};

use super::Forgotten;

#[handler]
fn create() {}

#[handler]
fn stateful(_state: Data<&Forgotten>) {}

#[tokio::test]
async fn its_cors_echoes_a_listed_origin_and_refuses_another() {
    for (cors, status) in [
        (Cors::new(), StatusCode::OK),
        (
            Cors::new().allow_origin("http://b.example"),
            StatusCode::FORBIDDEN,
        ),
    ] {
        let client = TestClient::new(Route::new().at("/", post(create)).with(cors));
        let preflight = client.options("/").header(ORIGIN, "http://a.example");
        let preflight = preflight.header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
        let answer = preflight.send().await;
        answer.assert_status(status);
        if status == StatusCode::OK {
            answer.assert_header(ACCESS_CONTROL_ALLOW_ORIGIN, "http://a.example");
        }
    }
}

#[tokio::test]
async fn missing_data_fails_the_first_request() {
    let client = TestClient::new(Route::new().at("/", get(stateful)));
    let answer = client.get("/").send().await;
    answer.assert_status(StatusCode::INTERNAL_SERVER_ERROR);
}
