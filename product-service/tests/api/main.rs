//! The test cases of product-service, on Rocket. framework-comparison runs the same cases on
//! the other four frameworks.

use product_service::http;

mod cases;
