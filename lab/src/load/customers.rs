//! The users and products of a load.

use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Client, Response};
use crate::shop::{Member, Shop};

/// So many pieces that no load sells out.
const STOCK: u32 = 1_000_000_000;

/// How many users and products a load makes.
const EACH: u32 = 3;

/// The ids of users who order, and of products that they order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customers {
    pub(crate) users: Vec<String>,
    pub(crate) products: Vec<String>,
}

impl Customers {
    /// Those that `POST /lab/seed` makes.
    pub fn seeded() -> Self {
        let ids = || (1..=EACH).map(|id| id.to_string()).collect();
        Self {
            users: ids(),
            products: ids(),
        }
    }

    /// Makes users and products of its own at the shop, so that the load sells out nothing that
    /// somebody else has. `run` is different in each run: an email belongs to one user. The error
    /// is a sentence.
    pub async fn sign_up(
        client: &Client,
        shop: &Shop,
        through: Through,
        run: u64,
    ) -> Result<Self, String> {
        let mut made = Self {
            users: Vec::new(),
            products: Vec::new(),
        };
        for number in 1..=EACH {
            let user = json!({
                "name": format!("Load {number}"),
                "email": format!("load-{run}-{number}@example.com"),
            });
            let product = json!({
                "name": format!("Load {number}"),
                "price": 10 * number,
                "stock": STOCK,
            });
            for (path, body, ids) in [
                ("/api/users", user, &mut made.users),
                ("/api/products", product, &mut made.products),
            ] {
                let url = through.url(shop, path);
                let answered = client.send_json(Method::POST, &url, &body).await;
                let response = answered.map_err(|cause| {
                    format!("The shop cannot be used: {cause}. scripts/start.sh starts it.")
                })?;
                ids.push(id(&response).map_err(|cause| format!("POST {url}: {cause}"))?);
            }
        }
        Ok(made)
    }
}

fn id(response: &Response) -> Result<String, String> {
    let status = response.status;
    let body: Value = response
        .json()
        .map_err(|_| format!("the answer {status} is no JSON"))?;
    let id = body.get("id").and_then(Value::as_str);
    id.map(str::to_owned).ok_or_else(|| {
        let said = response.error().unwrap_or_default();
        format!("the shop answered {status}. {said}")
    })
}

/// Which way requests take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// As those of clients do.
    Gateway,
    /// To the ports of the services.
    Direct,
}

impl Through {
    /// The URL of `path`, which begins with `/api/`.
    pub fn url(self, shop: &Shop, path: &str) -> String {
        let mut segments = path.split(['/', '?']).skip(2);
        let member = match segments.next() {
            _ if self == Self::Gateway => Member::Gateway,
            Some("users" | "auth") => Member::User,
            Some("products") => Member::Product,
            Some("orders") => Member::Order,
            Some("notifications") => Member::Notification,
            Some("analytics") => Member::Analytics,
            _ => Member::Gateway,
        };
        shop.url(member, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_service() {
        let shop = Shop::local(8001).expect("a shop");
        for (path, gateway, direct) in [
            ("/api/users/1", 8000, 8001),
            ("/api/products?limit=10", 8000, 8002),
            ("/api/orders", 8000, 8003),
            ("/api/notifications/1", 8000, 8004),
            ("/api/analytics/summary", 8000, 8005),
            ("/status", 8000, 8000),
        ] {
            for (through, port) in [(Through::Gateway, gateway), (Through::Direct, direct)] {
                let expected = format!("http://127.0.0.1:{port}{path}");
                assert_eq!(through.url(&shop, path), expected);
            }
        }
    }
}
