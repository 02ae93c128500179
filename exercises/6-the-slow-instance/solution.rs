//! Exercise 6: a balancer that takes the less busy one of two random instances.

use std::io;

use exercises::balancer::{self, Instance};

#[tokio::main]
async fn main() -> io::Result<()> {
    balancer::serve(choose).await
}

/// The place of the instance that gets the next request.
fn choose(instances: &[Instance]) -> usize {
    let one = fastrand::usize(..instances.len());
    // Another one, or the same if there is only one.
    let step = 1 + fastrand::usize(..instances.len().max(2) - 1);
    let other = (one + step) % instances.len();
    if instances[one].in_flight() <= instances[other].in_flight() {
        one
    } else {
        other
    }
}
