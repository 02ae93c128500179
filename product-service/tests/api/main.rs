//! The cases of product-service, on Rocket. framework-comparison has the same ones
//! on the others.

use product_service::http;

mod cases;
