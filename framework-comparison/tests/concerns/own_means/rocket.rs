use rocket::config::{Config, LogLevel};
use rocket::error::ErrorKind;
use rocket::http::{ContentType, Status};
use rocket::local::blocking::Client;
use rocket::{Build, Rocket, State, get, post, routes};

use super::Forgotten;

#[get("/")]
fn stateful(_state: &State<Forgotten>) {}

#[post("/", format = "json")]
fn takes_json() {}

fn rocket() -> Rocket<Build> {
    rocket::custom(Config {
        log_level: LogLevel::Off,
        ..Config::release_default()
    })
}

#[test]
fn missing_state_fails_the_launch() {
    let rocket = rocket().mount("/", routes![stateful]);
    let error = Client::untracked(rocket).expect_err("the state is missing");
    assert!(matches!(error.kind(), ErrorKind::SentinelAborts(_)));
}

#[test]
fn a_route_of_another_format_is_not_found() {
    let client = Client::untracked(rocket().mount("/", routes![takes_json]));
    let client = client.expect("a rocket");
    for (format, status) in [
        (ContentType::JSON, Status::Ok),
        (ContentType::Plain, Status::NotFound),
    ] {
        assert_eq!(client.post("/").header(format).dispatch().status(), status);
    }
}
