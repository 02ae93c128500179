//! Each exercise fails its check as it is handed out, and passes it as it is solved.

use exercises::report::Report;

async fn checked(number: usize, program: &str) -> Report {
    let program = format!("examples/{program}");
    let report = exercises::check(number, &program).await;
    report.unwrap_or_else(|fault| panic!("{program}: {fault}"))
}

/// What the check has against the exercise as it is handed out.
async fn against_start(number: usize) -> Vec<String> {
    against(&checked(number, &format!("start-{number}")).await)
}

fn against(report: &Report) -> Vec<String> {
    let wrong = report.wrong();
    wrong.map(|case| format!("{}: {}", case.asked, case.came)).collect()
}

async fn assert_solved(number: usize) {
    let report = checked(number, &format!("solution-{number}")).await;
    assert_eq!(report.wrong().count(), 0, "\n{report}");
    assert!(report.len() >= 4, "\n{report}");
}

#[tokio::test]
async fn the_first_wants_a_route() {
    assert_eq!(against_start(1).await, Vec::<String>::new());
    assert_solved(1).await;
}

#[tokio::test]
async fn the_second_wants_it_on_another_framework() {
    assert_eq!(against_start(2).await, against_start(1).await);
    assert_solved(2).await;
}

#[tokio::test]
async fn the_third_finds_what_a_framework_says_by_itself() {
    assert_eq!(against_start(3).await, Vec::<String>::new());
    assert_solved(3).await;
}

#[tokio::test]
async fn the_fourth_finds_the_lost_update() {
    assert_eq!(against_start(4).await, Vec::<String>::new());
    assert_solved(4).await;
}

#[tokio::test]
async fn the_fifth_finds_who_does_not_survive_a_swap() {
    assert_eq!(against_start(5).await, Vec::<String>::new());
    assert_eq!(against(&checked(5, "halfway-5").await), Vec::<String>::new());
    assert_solved(5).await;
}
