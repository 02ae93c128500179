//! A proxy that brings the fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{process, raw};
use shop_tests::fake::Fake;
use shop_tests::program::Program;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::{Edge, Fault};

/// Starts a proxy in front of `neighbour`. While `hurts` is set, the requests that the edge
/// names meet the fault.
pub(super) async fn gate(
    edge: Edge,
    fault: Fault,
    neighbour: &Program,
    hurts: Arc<AtomicBool>,
) -> Fake {
    let (real, id) = (neighbour.address(), neighbour.id());
    let signalled = Arc::new(Mutex::new(false));
    Fake::start(move |request| {
        let is_hit = request.target.ends_with(edge.hit) && hurts.load(Ordering::SeqCst);
        let signalled = Arc::clone(&signalled);
        let once = move |signal| {
            // Others wait until it is done: it is nobody's last good answer.
            block_in_place(|| {
                let mut signalled = signalled.lock().expect("no panic");
                if !std::mem::replace(&mut *signalled, true) {
                    process::signal(id, signal).expect("it runs");
                }
            });
        };
        async move {
            if !is_hit {
                return request.pass_on(real).await;
            }
            match fault {
                Fault::Killed => {
                    request.pass_on(real).await;
                    once("KILL");
                    Vec::new()
                }
                Fault::Stopped => {
                    once("STOP");
                    request.pass_on(real).await
                }
                Fault::Slow => {
                    sleep(Duration::from_millis(1500)).await;
                    request.pass_on(real).await
                }
                Fault::Errors => raw::json("500 Internal Server Error", "", "{}"),
                Fault::Garbage => b"\x16\x03\x01 what?\r\n\r\n".to_vec(),
                Fault::BrokenOff => {
                    let mut answer = request.pass_on(real).await;
                    answer.truncate(answer.len() / 2);
                    answer
                }
            }
        }
    })
    .await
}
