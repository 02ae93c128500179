//! The start of each exercise fails its check, and the solution passes it.

use exercises::report::Report;

async fn checked(number: usize, program: &str) -> Report {
    let program = format!("examples/{program}");
    let report = exercises::check(number, &program).await;
    report.unwrap_or_else(|fault| panic!("{program}: {fault}"))
}

/// The wrong answers of the start of an exercise.
async fn against_start(number: usize) -> Vec<String> {
    against(&checked(number, &format!("start-{number}")).await)
}

fn against(report: &Report) -> Vec<String> {
    let wrong = report.wrong();
    wrong
        .map(|case| format!("{}: {}", case.asked, case.came))
        .collect()
}

async fn assert_solved(number: usize) {
    let report = checked(number, &format!("solution-{number}")).await;
    assert_eq!(report.wrong().count(), 0, "\n{report}");
    assert!(report.len() >= 3, "\n{report}");
}

/// Without the route, `count` is the id of an unknown product.
const NO_ROUTE: [&str; 6] = [
    "GET count, no products: 404, no body",
    "GET count, 3 products: 404, no body",
    "GET count?maxPrice=2: 404, no body",
    "GET count?maxPrice=cheap: 404",
    "HEAD count: 404, no body",
    "DELETE count: 404",
];

#[tokio::test]
async fn exercise_1_requires_a_route() {
    let against = against_start(1).await;
    assert_eq!(against[..6], NO_ROUTE);
    assert_eq!(against[6..], ["GET count, 2 products: 404, no body"]);
    assert_solved(1).await;
}

#[tokio::test]
async fn exercise_2_requires_it_on_another_framework() {
    let against = against_start(2).await;
    assert_eq!(against[..4], NO_ROUTE[..4]);
    // Its `get` does not include HEAD.
    assert_eq!(against[4], "HEAD count: 405, no body");
    assert_eq!(against[5], NO_ROUTE[5]);
    assert_eq!(against[6..], ["GET count, 2 products: 404, no body"]);
    assert_solved(2).await;
}

#[tokio::test]
async fn exercise_3_finds_the_errors_of_the_framework() {
    let found = against_start(3).await;
    for finding in [
        "GET, an unknown route: 404, no body",
        "DELETE, a method that is not allowed: 405, no body, Allow: GET",
        "POST, a body without a content type: 400, not JSON: Content type error",
    ] {
        assert!(found.iter().any(|found| found == finding), "{found:#?}");
    }
    // All cases except the two successful ones.
    assert_eq!(found.len(), 11, "{found:#?}");
    assert_solved(3).await;
}

#[tokio::test]
async fn exercise_4_finds_the_lost_update() {
    let found = against_start(4).await;
    assert_eq!(found.len(), 2, "{found:#?}");
    let [sold, moved] = [&found[0], &found[1]].map(String::as_str);
    assert!(
        sold.starts_with("PATCH, 20 concurrent requests take 1 of 5: "),
        "{sold}"
    );
    assert!(
        moved.starts_with("PATCH, 20 concurrent requests add or take 1: 20 done, "),
        "{moved}"
    );
    assert_solved(4).await;
}

#[tokio::test]
async fn exercise_5_finds_a_program_that_does_not_survive_a_swap() {
    assert_eq!(
        against_start(5).await,
        [
            "scripts/swap.sh product poem, your program: product-service was not ready within 10 s: answered 404 to GET /health/ready"
        ]
    );
    let found = against(&checked(5, "halfway-5").await);
    assert_eq!(found.len(), 2, "{found:#?}");
    let [played, cut] = [&found[0], &found[1]].map(String::as_str);
    assert!(
        played.contains("product-service: the log's line for /api/products/"),
        "{played}"
    );
    assert!(
        cut.starts_with("scripts/swap.sh product rocket, a request in flight: "),
        "{cut}"
    );
    assert_solved(5).await;
}

#[tokio::test]
async fn exercise_6_finds_a_balancer_that_takes_turns() {
    let found = against_start(6).await;
    assert_eq!(found, ["the slow instance gets few: 80"]);
    assert_solved(6).await;
}

#[tokio::test]
async fn exercise_7_finds_the_stampede() {
    let found = against_start(7).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    let calls = found[0].strip_prefix("the calls for them: ");
    let calls: usize = calls.and_then(|calls| calls.parse().ok()).expect("a count");
    assert!((2..=100).contains(&calls), "{calls}");
    assert_solved(7).await;
}

#[tokio::test]
async fn exercise_8_finds_a_client_that_does_not_wait() {
    let found = against_start(8).await;
    let [said, seen, refused] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert!(
        said.starts_with("40 products, what the program says: 2"),
        "{said}"
    );
    assert!(
        seen.starts_with("40 products, what the service has seen: 2"),
        "{seen}"
    );
    assert!(refused.starts_with("the refusals: "), "{refused}");
    assert_solved(8).await;
}

#[tokio::test]
async fn a_check_that_cannot_run_is_reported_in_one_sentence() {
    for (number, program, fault) in [
        (9, "examples/start-1", "there is no exercise 9"),
        (5, "exercise-of-nobody", "exercise-of-nobody is not built"),
    ] {
        let said = exercises::check(number, program).await.expect_err(fault);
        assert!(said.contains(fault), "{said}");
    }
}
