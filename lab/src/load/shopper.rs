//! What a customer does: one of these at each arrival.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::Method;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

use super::customers::{Customers, Through};
use super::tally::Outcome;
use crate::client::{Client, NoResponse, Response};
use crate::shop::Shop;

/// The most orders that are remembered, to be cancelled.
const REMEMBERED: usize = 1000;

/// How long a buyer thinks between seeing the price and ordering.
const THOUGHT: Duration = Duration::from_millis(500);

/// What a customer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a list of products, a product, or a user.
    Browse,
    /// Orders one piece.
    Order,
    /// Reads the price of product 1, thinks for half a second, and orders one piece.
    Buy,
    /// Cancels an order, the oldest first. Without one, looks at a product.
    Cancel,
    /// Sends a GET for this path.
    Get(String),
    /// Does what a step of a scenario says.
    Send,
}

impl Kind {
    /// Its name in a scenario.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Browse => "browse",
            Self::Order => "order",
            Self::Buy => "buy",
            Self::Cancel => "cancel",
            Self::Get(_) => "get",
            Self::Send => "send",
        }
    }
}

/// Customers of a shop.
#[derive(Debug)]
pub struct Shopper {
    client: Client,
    shop: Shop,
    through: Through,
    customers: RwLock<Customers>,
    /// The ids of orders that stand, the oldest first.
    orders: Mutex<VecDeque<String>>,
}

impl Shopper {
    /// Customers of `shop`, who go to the ports of the services if they are `direct`.
    pub fn new(client: Client, shop: Shop, direct: bool, customers: Customers) -> Self {
        Self {
            client,
            shop,
            through: if direct {
                Through::Direct
            } else {
                Through::Gateway
            },
            customers: RwLock::new(customers),
            orders: Mutex::default(),
        }
    }

    /// Replaces the customers, after the shop has forgotten the others.
    pub fn become_others(&self, customers: Customers) {
        *self.customers.write() = customers;
        self.orders.lock().clear();
    }

    /// Does it. `pick` selects the user, the product and so on.
    pub async fn act(&self, kind: &Kind, pick: u32) -> Outcome {
        let answered = match kind {
            Kind::Browse => self.browse(pick).await,
            Kind::Order => {
                let (user, product) = self.pick(pick);
                self.order(&user, &product).await
            }
            Kind::Buy => return self.buy(pick).await,
            Kind::Cancel => match self.oldest_order() {
                Some(id) => {
                    let path = format!("/api/orders/{id}/cancel");
                    self.post(&path, &json!({})).await
                }
                None => self.browse(pick).await,
            },
            Kind::Get(path) => self.get(path).await,
            Kind::Send => return Outcome::not_sent(),
        };
        Outcome::of(&answered)
    }

    fn oldest_order(&self) -> Option<String> {
        self.orders.lock().pop_front()
    }

    async fn browse(&self, pick: u32) -> Result<Response, NoResponse> {
        let (user, product) = self.pick(pick);
        // The last bits select the user and the product.
        let path = match pick >> 16 & 3 {
            0 => "/api/products?limit=20".to_owned(),
            1 => format!("/api/users/{user}"),
            _ => format!("/api/products/{product}"),
        };
        self.get(&path).await
    }

    async fn order(&self, user: &str, product: &str) -> Result<Response, NoResponse> {
        let order = json!({ "userId": user, "productId": product, "quantity": 1 });
        let answered = self.post("/api/orders", &order).await;
        let made = answered.as_ref().ok().filter(|one| one.status == 201);
        let made = made.and_then(|response| response.json::<Value>().ok());
        if let Some(id) = made.as_ref().and_then(|order| order.get("id")?.as_str()) {
            let mut orders = self.orders.lock();
            if orders.len() == REMEMBERED {
                orders.pop_front();
            }
            orders.push_back(id.to_owned());
        }
        answered
    }

    async fn buy(&self, pick: u32) -> Outcome {
        let price = |answered: &Result<Response, NoResponse>, field: &str| {
            let body = answered.as_ref().ok()?.json::<Value>().ok()?;
            body.get(field)?.as_f64()
        };
        let (user, _) = self.pick(pick);
        let product = self.customers.read().products[0].clone();
        let seen = self.get(&format!("/api/products/{product}")).await;
        let Some(shown) = price(&seen, "price") else {
            return Outcome::of(&seen);
        };
        tokio::time::sleep(THOUGHT).await;
        let ordered = self.order(&user, &product).await;
        let paid = price(&ordered, "unitPrice");
        match Outcome::of(&ordered) {
            Outcome::Ok if paid.is_some_and(|paid| (paid - shown).abs() > 0.001) => {
                Outcome::Surprised
            }
            outcome => outcome,
        }
    }

    fn pick(&self, pick: u32) -> (String, String) {
        let customers = self.customers.read();
        let of = |ids: &[String], pick: u32| ids[pick as usize % ids.len()].clone();
        let product = of(&customers.products, pick / 8);
        (of(&customers.users, pick), product)
    }

    async fn get(&self, path: &str) -> Result<Response, NoResponse> {
        self.client.get(&self.through.url(&self.shop, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Response, NoResponse> {
        let url = self.through.url(&self.shop, path);
        self.client.send_json(Method::POST, &url, body).await
    }
}
