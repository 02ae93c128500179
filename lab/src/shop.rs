//! Where the five services and the gateway are.

use std::ops::RangeInclusive;

/// A program of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// user-service.
    User,
    /// product-service.
    Product,
    /// order-service.
    Order,
    /// notification-service.
    Notification,
    /// analytics-service.
    Analytics,
    /// The gateway in front of the five.
    Gateway,
}

impl Member {
    /// All six, in the order of the scripts.
    pub const ALL: [Self; 6] = [
        Self::User,
        Self::Product,
        Self::Order,
        Self::Notification,
        Self::Analytics,
        Self::Gateway,
    ];

    /// Its name, such as `user-service`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user-service",
            Self::Product => "product-service",
            Self::Order => "order-service",
            Self::Notification => "notification-service",
            Self::Analytics => "analytics-service",
            Self::Gateway => "gateway",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|member| member.name() == name)
    }
}

/// The addresses of a shop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shop {
    /// Such as `http://127.0.0.1:8001`, in the order of [`Member::ALL`].
    origins: [String; 6],
}

/// The ports that user-service can have: four others follow, and the gateway is before it.
const BASE_PORTS: RangeInclusive<u16> = 2..=65531;

impl Shop {
    /// The shop at these addresses, such as `http://127.0.0.1:8001`, in the order of
    /// [`Member::ALL`].
    pub fn at(origins: [String; 6]) -> Self {
        let origins = origins.map(|origin| origin.trim_end_matches('/').to_owned());
        Self { origins }
    }

    /// The shop on this machine whose user-service has this port, as the scripts and the lab in
    /// containers place it. `None` if there is no room for the six.
    pub fn local(base_port: u16) -> Option<Self> {
        if !BASE_PORTS.contains(&base_port) {
            return None;
        }
        Some(Self {
            origins: Member::ALL.map(|member| {
                let port = match member {
                    Member::Gateway => base_port - 1,
                    other => base_port + other as u16,
                };
                format!("http://127.0.0.1:{port}")
            }),
        })
    }

    /// The shop on this machine at `BASE_PORT`, which the scripts export; at 8001 without it.
    /// The error is a sentence for the user.
    pub fn from_env() -> Result<Self, String> {
        match std::env::var("BASE_PORT") {
            Ok(port) if !port.is_empty() => {
                let shop = port.parse().ok().and_then(Self::local);
                shop.ok_or_else(|| {
                    let (least, most) = (BASE_PORTS.start(), BASE_PORTS.end());
                    format!(
                        "BASE_PORT is {port:?}, expected the first of five ports, {least} to {most}; the gateway has the one before"
                    )
                })
            }
            _ => Ok(Self::local(8001).expect("the default has room for the six")),
        }
    }

    /// The address of `member`, without a slash at its end.
    pub fn origin(&self, member: Member) -> &str {
        &self.origins[member as usize]
    }

    /// The URL of `path`, which begins with a slash, at `member`.
    pub fn url(&self, member: Member, path: &str) -> String {
        format!("{}{path}", self.origin(member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_have_the_ports_of_the_scripts() {
        let shop = Shop::local(8001).expect("a shop");
        let origins = Member::ALL.map(|member| shop.origin(member).to_owned());
        let expected =
            [8001, 8002, 8003, 8004, 8005, 8000].map(|port| format!("http://127.0.0.1:{port}"));
        assert_eq!(origins, expected);
        assert_eq!(
            shop.url(Member::Order, "/api/orders"),
            "http://127.0.0.1:8003/api/orders"
        );
    }

    #[test]
    fn the_six_must_have_room() {
        for (port, has_room) in [
            (0, false),
            (1, false),
            (2, true),
            (65531, true),
            (65532, false),
        ] {
            assert_eq!(Shop::local(port).is_some(), has_room, "{port}");
        }
    }

    #[test]
    fn each_is_found_by_its_name() {
        for member in Member::ALL {
            assert_eq!(Member::named(member.name()), Some(member));
        }
        assert_eq!(Member::named("nobody"), None);
    }
}
