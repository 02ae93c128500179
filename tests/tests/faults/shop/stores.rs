//! Whether the stores agree with each other, and with what clients were told.

use std::time::{Duration, Instant};

use harness::PATIENCE;
use serde_json::Value;
use shop_tests::ask::{all, stock};
use shop_tests::faults::good;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::Shop;
use crate::{Fault, STOCK, count};

impl Shop {
    /// Whether the stores hold what they should.
    pub(super) async fn stores_agree(&mut self) -> Result<(), String> {
        let created = self.created.lock().expect("no panic").clone();
        let there = match self.edge.caller {
            "order-service" => all(self.caller.address(), "/api/orders").await?,
            "product-service" => all(self.caller.address(), "/api/products").await?,
            _ => Vec::new(),
        };
        let sorted = |mut records: Vec<Value>| {
            records.sort_by_key(|one| one["id"].as_str().and_then(|id| id.parse::<u32>().ok()));
            records
        };
        let created = sorted(created);
        good(there == created, format!("{there:?}, not {created:?}"))?;

        // What is in doubt is found out, and undone, before it stops.
        self.caller.signal("TERM");
        let ended = block_in_place(|| self.caller.ended(PATIENCE));
        good(ended.status == Some(0), format!("{ended:?}"))?;
        // What is slow may still be on its way.
        let deadline = Instant::now() + PATIENCE;
        while let Err(fault) = self.others_agree(&created).await {
            good(Instant::now() < deadline, fault)?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn others_agree(&self, created: &[Value]) -> Result<(), String> {
        count(self.address("user-service"), "/api/users", 1).await?;
        match self.edge.caller {
            "order-service" => self.orders_agree(created).await,
            "product-service" => Ok(()),
            _ => {
                count(self.address("product-service"), "/api/products", 1).await?;
                count(self.address("order-service"), "/api/orders", 0).await?;
                let notifications = self.address("notification-service");
                count(notifications, "/api/notifications", 1).await
            }
        }
    }

    /// Each order has its stock, and at most one notification; nothing else has any.
    async fn orders_agree(&self, placed: &[Value]) -> Result<(), String> {
        let gone = |service| {
            if self.edge.neighbour == service {
                self.lost
            } else {
                0
            }
        };
        let sold = 2 * (placed.len() - gone("product-service")) as u64;
        let stock = stock(self.address("product-service"), 1).await?;
        good(
            stock + sold == STOCK,
            format!("{stock} in stock and {sold} sold of {STOCK}"),
        )?;

        let told = all(self.address("notification-service"), "/api/notifications").await?;
        let told: Vec<_> = told
            .iter()
            .filter_map(|one| one["message"].as_str())
            .collect();
        let mut missed = 0;
        let mut doubtful = 0;
        for order in &placed[gone("notification-service")..] {
            let message = format!(
                "Your order #{} has been confirmed",
                order["id"].as_str().expect("an id")
            );
            let times = told.iter().filter(|one| **one == message).count();
            let is_sent = order["notification"] == "sent";
            missed += usize::from(is_sent && times == 0);
            doubtful += usize::from(!is_sent && times == 1);
            good(times <= 1, format!("{message}, {times} times"))?;
        }
        good(
            missed == 0,
            format!("{missed} were not told, of {placed:?}"),
        )?;
        // `failed` is what nobody knows to have been sent.
        let does_it = matches!(self.fault, Fault::Slow | Fault::BrokenOff);
        let is_hit = self.edge.neighbour == "notification-service";
        good(
            !(does_it && is_hit) || doubtful > 0,
            "nobody was told whose order says that he was not",
        )
    }
}
